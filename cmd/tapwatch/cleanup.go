package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"tapwatch/agent"
	"tapwatch/agent/config"
	"tapwatch/agent/probe"
	"tapwatch/internal/registry"
	"tapwatch/internal/sandbox"
)

// cleanupCommand is "tapwatch cleanup": the broom behind a killed launcher.
func cleanupCommand() *cobra.Command {
	var runDir string
	c := &cobra.Command{
		Use:   "cleanup",
		Short: "Remove what a killed launcher or agent left behind",
		Long: `Cleanup removes what the records of launchers that no longer live name, where it
is still the same: a VMM by its pid and start time, a namespace by its cookie; the
hooks of an agent of the same run directory that no longer lives; and hooks, in any
namespace, of agents that no longer live and whose run directory has gone. It
touches nothing else, and nothing of a launcher or an agent that lives, in whatever
container that is. It says what it left, and fails where it cannot tell.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			hooks, err := agent.Cleanup(runDir)
			if errors.Is(err, agent.ErrRunning) { // what it left says so
				err = nil
			}
			report, slotErr := sandbox.Cleanup(runDir)
			report.Removed = append(report.Removed, removedHooks(hooks)...)
			for _, what := range report.Removed {
				fmt.Fprintln(cmd.OutOrStdout(), "removed", what)
			}
			for _, what := range report.Kept {
				fmt.Fprintln(cmd.OutOrStdout(), "kept", what)
			}
			for _, left := range hooks.Left {
				fmt.Fprintln(cmd.OutOrStdout(), "left", left)
			}
			err = errors.Join(err, slotErr)
			if err == nil && len(report.Removed)+len(report.Kept) == 0 {
				fmt.Fprintln(cmd.OutOrStdout(), "nothing to do")
			}
			return err
		},
	}
	c.Flags().StringVar(&runDir, "run-dir", registry.DefaultDir, "directory of the launcher's records")
	config.Check(c.Flags(), "run-dir", dirName)
	return c
}

func removedHooks(c probe.Cleaned) (lines []string) {
	if c.Own > 0 {
		lines = append(lines, fmt.Sprintf("hooks on %d taps", c.Own))
	}
	if c.Orphans > 0 {
		lines = append(lines, fmt.Sprintf("hooks on %d taps, of dead agents whose run directory has gone", c.Orphans))
	}
	return lines
}
