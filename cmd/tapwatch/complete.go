package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"tapwatch/agent/config"
	"tapwatch/agent/diagnose"
	"tapwatch/agent/httpapi"
	"tapwatch/internal/drill"
	"tapwatch/internal/sandbox/api"
	"tapwatch/internal/sandbox/template"
)

// completing bounds what a shell waits for at a press of the tab key.
const completing = time.Second

// flagCompletions are those of a command's own flags.
func flagCompletions(c *cobra.Command) map[string]cobra.CompletionFunc {
	of := map[string]cobra.CompletionFunc{}
	visit := func(f *pflag.Flag) {
		switch words := config.Words(f); {
		case words != nil:
			of[f.Name] = cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)
		case f.Value.Type() == "CODE":
			of[f.Name] = cobra.FixedCompletions(codes(), cobra.ShellCompDirectiveNoFileComp)
		}
	}
	c.LocalFlags().VisitAll(visit)
	return of
}

func codes() (all []string) {
	for _, c := range diagnose.Checks {
		all = append(all, c.Code)
	}
	return all
}

// watched completes a sandbox that the agent knows: its id, name or namespace.
func watched(agentURL *string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(context.Background(), completing)
		defer cancel()
		slots, err := httpapi.Client{BaseURL: *agentURL}.Paths(ctx)
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		var words []string
		for _, s := range slots {
			if s.Sandbox == nil {
				continue
			}
			words = append(words, named3(s.Sandbox.ID, s.Sandbox.Name, s.Netns)...)
		}
		return words, cobra.ShellCompDirectiveNoFileComp
	}
}

// launched completes a sandbox of the launcher.
func launched(client *api.Client, many bool) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 && !many {
			return nil, cobra.ShellCompDirectiveDefault
		}
		ctx, cancel := context.WithTimeout(context.Background(), completing)
		defer cancel()
		list, err := client.List(ctx)
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		var words []string
		for _, s := range list {
			words = append(words, named3(s.ID, s.Tapwatch.Name, s.Tapwatch.Netns)...)
		}
		return words, cobra.ShellCompDirectiveNoFileComp
	}
}

// named3 are the ways to name a sandbox, each with what it is.
func named3(id, name, netns string) []string {
	words := []string{cobra.CompletionWithDesc(id, netns)}
	if name != "" {
		words = append(words, cobra.CompletionWithDesc(name, id))
	}
	if netns != "" {
		words = append(words, cobra.CompletionWithDesc(netns, id))
	}
	return words
}

func faultNames(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	words := []string{"all"}
	for _, f := range drill.Faults() {
		words = append(words, cobra.CompletionWithDesc(f.Name, f.What))
	}
	return words, cobra.ShellCompDirectiveNoFileComp
}

// templateNames completes the names of templates, and files where a directory or an
// image may be given instead.
func templateNames(dir *string, orFile cobra.ShellCompDirective, most int) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) >= most {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		store := template.Store{Dir: *dir}
		list, _ := store.List() // what is damaged is left out
		var words []string
		for _, t := range list {
			words = append(words, t.Aliases...)
			words = append(words, t.ID)
		}
		return words, orFile
	}
}
