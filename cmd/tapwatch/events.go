package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"tapwatch/agent/httpapi"
	"tapwatch/agent/path"
)

func eventsCommand() *cobra.Command {
	var (
		agentURL string
		output   string
		recent   bool
	)
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Print what happens to the slots of this host, as it happens",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return httpapi.Client{BaseURL: agentURL}.Events(cmd.Context(), recent, func(e path.Event, raw string) {
				if output == "json" {
					fmt.Fprintln(cmd.OutOrStdout(), raw)
				} else {
					fmt.Fprintln(cmd.OutOrStdout(), e)
				}
			})
		},
	}
	agentURLFlag(cmd.Flags(), &agentURL)
	outputFlag(cmd, &output, "text, or json: one object a line", "text", "json")
	cmd.Flags().BoolVar(&recent, "recent", true, "begin with the events that the agent has kept")
	return cmd
}
