package main

import (
	"encoding/json"

	"github.com/spf13/cobra"

	"tapwatch/agent/draw"
	"tapwatch/agent/httpapi"
)

// printHistory is doctor --history.
func printHistory(cmd *cobra.Command, args []string, agentURL string, noAgent bool, output string) error {
	switch {
	case noAgent:
		return usagef("--history is what a running agent has recorded: it goes without --no-agent")
	case len(args) != 1 || args[0] == "":
		return usagef("--history needs one sandbox: its id, its name, or its namespace")
	}
	h, err := httpapi.Client{BaseURL: agentURL}.History(cmd.Context(), args[0])
	if err != nil {
		return undecided(cmd, err)
	}
	if output == "json" {
		return json.NewEncoder(cmd.OutOrStdout()).Encode(h)
	}
	draw.History(cmd.OutOrStdout(), h, screenOf(cmd.OutOrStdout()))
	return nil
}
