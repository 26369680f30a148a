package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"tapwatch/internal/sandbox/api"
	"tapwatch/internal/sandbox/conns"
)

func sandboxConnectionsCommand(client *api.Client) *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:   "connections [SANDBOX]",
		Short: "Show the connections of proxy and relay to sandboxes, and how earlier ones ended",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			all, err := client.Connections(cmd.Context(), strings.Join(args, ""))
			if err != nil {
				return err
			}
			if output == "json" {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(all)
			}
			return printConnections(cmd.OutOrStdout(), all, time.Now())
		},
	}
	outputFlag(c, &output, "text or json", "text", "json")
	return c
}

// printConnections prints those that are open, then a line of counts for each sandbox and layer.
func printConnections(to io.Writer, all []conns.Stats, now time.Time) error {
	w := tabwriter.NewWriter(to, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "SANDBOX\tLAYER\tCLIENT\tREMOTE\tAGE\tSENT\tRECEIVED\tCONNECT\tFIRST BYTE\tRTT\tRETRANSMITS")
	for _, s := range all {
		for _, c := range s.Open {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\t%d\t%s\t%s\t%s\t%s\n", s.SandboxID, s.Layer, c.Client, c.Remote,
				now.Sub(c.Opened).Round(time.Second), c.Sent, c.Received, micros(c.ConnectUS), micros(c.FirstByteUS), micros(c.RTTUS), number(c.Retransmits))
		}
	}
	fmt.Fprintln(w, "\nSANDBOX\tLAYER\tOPENED\tOPEN\tSENT\tRECEIVED\tENDED\tDIAL ERRORS")
	for _, s := range all {
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%d\t%s\t%s\n", s.SandboxID, s.Layer, s.Opened, len(s.Open), s.Sent, s.Received, counts(s.Ended), counts(s.DialErrors))
	}
	return w.Flush()
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
