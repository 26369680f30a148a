package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tapwatch/internal/sandbox/api"
	"tapwatch/internal/sandbox/conns"
)

func sandboxConnectionsCommand(client *api.Client) *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:   "connections [SANDBOX]",
		Short: "Show the connections to sandboxes, and how earlier ones ended",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var all []conns.Stats
			err := byName(cmd.Context(), client, strings.Join(args, ""), func(id string) (err error) {
				all, err = client.Connections(cmd.Context(), id)
				return err
			})
			if err != nil {
				return err
			}
			if output == "json" {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(all)
			}
			return printConnections(cmd.OutOrStdout(), all, time.Now())
		},
	}
	c.ValidArgsFunction = launched(client, false)
	outputFlag(c, &output, "text or json", "text", "json")
	return c
}

// printConnections prints those that are open, then a line of counts for each sandbox and layer.
func printConnections(to io.Writer, all []conns.Stats, now time.Time) error {
	var open, ever table
	open.row("SANDBOX", "LAYER", "CLIENT", "REMOTE", "AGE", "SENT", "RECEIVED", "CONNECT", "FIRST BYTE", "RTT", "RETRANSMITS")
	for _, s := range all {
		for _, c := range s.Open {
			open.row(s.SandboxID, s.Layer, c.Client, c.Remote,
				now.Sub(c.Opened).Round(time.Second), c.Sent, c.Received, micros(c.ConnectUS), micros(c.FirstByteUS), micros(c.RTTUS), number(c.Retransmits))
		}
	}
	ever.row("SANDBOX", "LAYER", "OPENED", "OPEN", "SENT", "RECEIVED", "ENDED", "DIAL ERRORS")
	for _, s := range all {
		ever.row(s.SandboxID, s.Layer, s.Opened, len(s.Open), s.Sent, s.Received, counts(s.Ended), counts(s.DialErrors))
	}
	on := screenOf(to)
	if err := open.print(to, on); err != nil {
		return err
	}
	fmt.Fprintln(to)
	return ever.print(to, on)
}

// micros prints a time in microseconds; nil is not known.
func micros(us *int64) string {
	if us == nil {
		return "-"
	}
	return (time.Duration(*us) * time.Microsecond).String()
}

func number(n *int64) string {
	if n == nil {
		return "-"
	}
	return fmt.Sprint(*n)
}

// counts prints a table of counts in a line.
func counts(of map[string]int64) string {
	var words []string
	for _, name := range slices.Sorted(maps.Keys(of)) {
		words = append(words, fmt.Sprintf("%s %d", name, of[name]))
	}
	return orDash(strings.Join(words, ", "))
}
