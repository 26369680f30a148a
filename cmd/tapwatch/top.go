package main

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"tapwatch/agent/config"
	"tapwatch/agent/path"
	"tapwatch/agent/top"
)

func topCommand() *cobra.Command {
	var (
		cfg    top.Config
		once   bool
		output string
	)
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Show all sandboxes of this host live: sort, filter, open one",
		Long: `Top shows the state of every sandbox of this host on the terminal, the broken ones
first, and follows what happens. Keys: / filters, s sorts, enter opens a sandbox, e
shows events, ? helps, q quits. With --once it prints the list and ends.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case once:
				return printTop(cmd, cfg, output)
			case output != "text":
				return usagef("--output %s goes with --once", output)
			case !isTerminal(os.Stdin) || screenOf(cmd.OutOrStdout()).Width == 0 || os.Getenv("TERM") == "dumb":
				return usagef("top needs a terminal: --once prints the list without one")
			}
			cfg.Color = screenOf(cmd.OutOrStdout()).Color
			return top.Run(cmd.Context(), cfg, cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	agentURLFlag(f, &cfg.Client.BaseURL)
	f.StringVar(&cfg.Filter, "filter", "", "only sandboxes with all these words in id, name, template, namespace or finding; the name of a state, such as broken; hop:NAME")
	f.StringVar(&cfg.Order, "sort", top.Orders[0], "sort by state (worst first), name, id, netns or since (newest finding first)")
	f.BoolVar(&cfg.Idle, "all", false, "show idle slots too")
	f.BoolVar(&once, "once", false, "print the list and end")
	config.OneOf(f, "sort", top.Orders...)
	outputFlag(cmd, &output, "text or json", "text", "json")
	return cmd
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// printTop is top --once.
func printTop(cmd *cobra.Command, cfg top.Config, output string) error {
	slots, err := cfg.Client.Paths(cmd.Context())
	if err != nil {
		return err
	}
	all := top.Rows(slots, cfg.Idle)
	rows := top.Filter(all, cfg.Filter)
	top.Sort(rows, cfg.Order)
	if output == "json" {
		if rows == nil {
			rows = []top.Row{}
		}
		return json.NewEncoder(cmd.OutOrStdout()).Encode(struct {
			Counts    map[path.State]int `json:"counts"`
			Sandboxes []top.Row          `json:"sandboxes"`
		}{top.Counts(rows), rows})
	}
	var t table
	t.row("SANDBOX", "NAME", "NETNS", "STATE", "HOP", "SINCE", "CAUSE")
	for _, r := range rows {
		since := "-"
		if !r.Since.IsZero() {
			since = r.Since.Local().Format(time.DateTime)
		}
		cause := orDash(r.Cause)
		if r.Code != "" {
			cause = r.Code + ": " + r.Cause
		}
		t.row(orDash(r.SandboxID), orDash(r.Name), r.Netns, r.State, orDash(string(r.Hop)), since, cause)
	}
	if err := t.print(cmd.OutOrStdout(), screenOf(cmd.OutOrStdout())); err != nil {
		return err
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d of %d\n", len(rows), len(all))
	return err
}
