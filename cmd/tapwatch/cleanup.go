package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"tapwatch/internal/registry"
	"tapwatch/internal/sandbox"
)

// cleanupCommand is "tapwatch cleanup": the broom behind a killed launcher.
func cleanupCommand() *cobra.Command {
	var runDir string
	c := &cobra.Command{
		Use:   "cleanup",
		Short: "Remove what a killed launcher left: VMMs, slots, records, logs",
		Long: `Cleanup removes what the records of launchers that no longer live name, where it
is still the same: a VMM by its pid and start time, a namespace by its cookie. It
touches nothing else, and nothing of a launcher that lives.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			report, err := sandbox.Cleanup(runDir)
			for _, what := range report.Removed {
				fmt.Fprintln(cmd.OutOrStdout(), "removed", what)
			}
			for _, what := range report.Kept {
				fmt.Fprintln(cmd.OutOrStdout(), "kept", what)
			}
			if err == nil && len(report.Removed)+len(report.Kept) == 0 {
				fmt.Fprintln(cmd.OutOrStdout(), "nothing to do")
			}
			return err
		},
	}
	c.Flags().StringVar(&runDir, "run-dir", registry.DefaultDir, "directory of the launcher's records")
	return c
}
