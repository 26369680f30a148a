package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"tapwatch/agent"
	"tapwatch/agent/draw"
	"tapwatch/agent/httpapi"
	"tapwatch/agent/path"
	"tapwatch/internal/registry"
)

// What doctor's exit status says. A finding outweighs what could not be told.
const (
	exitFinding   = exitCode(1)
	exitUndecided = exitCode(2)
)

func doctorCommand() *cobra.Command {
	var (
		agentURL, output string
		all, history     bool
		noAgent          bool
		look             = agentFlags{hops: true}
	)
	cmd := &cobra.Command{
		Use:   "doctor [SANDBOX|NAME|NETNS|DEVICE]",
		Short: "Draw the path of a sandbox: where it breaks, the cause, the fix",
		Long: `Doctor asks the running agent for the path of one sandbox (by id, name,
namespace or tap), or of every sandbox of the host, and draws it. Where no agent runs it
reads the kernel itself, once, as root: it changes nothing and sees no traffic, so
it asks each sandbox's envd for its health. The exit status is 0 where all is well
(so is a paused sandbox that no request waits for), 1 where there is a finding, 2
where that could not be told: there is no such sandbox, it boots, somebody
unidentified or unknown holds a tap, or doctor may not read the kernel. A sandbox
that the configuration silences does not count, whatever is wrong with it.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if history {
				return printHistory(cmd, args, agentURL, noAgent, output)
			}
			slots, err := pathsOf(cmd, agentURL, noAgent, look)
			if err == nil {
				slots, err = chosen(slots, args, all)
			}
			if errors.Is(err, errNoSuch) && !noAgent {
				err = orGone(cmd.Context(), httpapi.Client{BaseURL: agentURL}, args[0], err)
			}
			if err != nil {
				return undecided(cmd, err)
			}
			if output == "json" {
				if err := json.NewEncoder(cmd.OutOrStdout()).Encode(map[string]any{"paths": slots}); err != nil {
					return err
				}
			} else {
				draw.All(cmd.OutOrStdout(), slots, screenOf(cmd.OutOrStdout()))
			}
			return verdict(slots)
		},
	}
	agentURLFlag(cmd.Flags(), &agentURL)
	cmd.ValidArgsFunction = watched(&agentURL)
	outputFlag(cmd, &output, "text or json", "text", "json")
	cmd.Flags().BoolVar(&all, "all", false, "show idle slots too")
	cmd.Flags().BoolVar(&noAgent, "no-agent", false, "read the kernel instead of asking the agent")
	cmd.Flags().StringVar(&look.runDir, "run-dir", registry.DefaultDir, "without an agent: directory of the launchers' records")
	cmd.Flags().StringVar(&look.proxy, "proxy", "", "without an agent: address and port where the proxy listens; empty: not known, looked for at 127.0.0.1:49983")
	cmd.Flags().StringVar(&look.templateCache, "template-cache", "", "without an agent: directory of E2B's template cache; empty disables reading it")
	cmd.Flags().BoolVar(&history, "history", false, "what happened to the sandbox and how it booted, up to an hour after its end")
	return cmd
}

// pathsOf asks the agent for all paths; where none was named and none answers, or
// none is to be asked, they are read from the kernel.
func pathsOf(cmd *cobra.Command, agentURL string, noAgent bool, look agentFlags) ([]path.Slot, error) {
	cfg, err := look.config()
	if err != nil {
		return nil, err
	}
	cfg.Log = slog.New(slog.DiscardHandler)
	if !noAgent {
		client := httpapi.Client{BaseURL: agentURL}
		slots, err := client.Paths(cmd.Context())
		if l, lerr := client.Levels(cmd.Context()); err == nil && lerr == nil && l.String() != "" {
			fmt.Fprintln(cmd.ErrOrStderr(), "checks that are "+l.String())
		}
		if err == nil || cmd.Flags().Changed("agent-url") || !errors.Is(err, syscall.ECONNREFUSED) {
			return slots, err
		}
	}
	for _, lack := range agent.ContainerLacks() {
		fmt.Fprintln(cmd.ErrOrStderr(), "missing here: "+lack)
	}
	slots, err := agent.Look(cmd.Context(), cfg)
	if err == nil && !noAgent {
		fmt.Fprintln(cmd.ErrOrStderr(), "no agent runs: the kernel was read once, so there is no traffic to judge by and no history")
	}
	return slots, err
}

var errNoSuch = errors.New("no sandbox or slot of this host")

// orGone says of a sandbox that was not found whether it was there: an agent
// knows for an hour.
func orGone(ctx context.Context, c httpapi.Client, who string, notFound error) error {
	h, err := c.History(ctx, who)
	if err != nil || h.Gone.IsZero() {
		return notFound
	}
	return fmt.Errorf("%s is gone since %s: tapwatch doctor %s --history tells what became of it", who, h.Gone.Local().Format(time.DateTime), h.SandboxID)
}

// chosen is the slots that were asked for: by name, or every sandbox's.
func chosen(slots []path.Slot, args []string, all bool) ([]path.Slot, error) {
	if len(args) == 1 && args[0] == "" {
		return nil, usagef("%w", errNoName)
	}
	var some []path.Slot
	for _, s := range slots {
		switch {
		case len(args) == 0 && (all || s.Sandbox != nil || s.Unidentified != nil || s.Stray != nil || s.Diagnosis.State == path.Undecided),
			len(args) == 1 && (s.Netns == args[0] || s.Device.Name == args[0] || s.Sandbox != nil && (s.Sandbox.ID == args[0] || s.Sandbox.Name == args[0])):
			some = append(some, s)
		}
	}
	if len(some) > 0 {
		return some, nil
	}
	if len(args) == 1 {
		return nil, fmt.Errorf("%s is %w: see tapwatch doctor --all", args[0], errNoSuch)
	}
	return nil, errors.New("no sandbox is bound to a slot on this host: --all shows idle slots too")
}

func verdict(slots []path.Slot) error {
	var worst error
	for _, s := range slots {
		if s.Silence != nil { // the operator knows
			continue
		}
		for _, f := range s.Diagnosis.Findings { // a warning too, of a path that is well
			if f.Severity != path.Info {
				return exitFinding
			}
		}
		switch s.Diagnosis.State {
		case path.Broken:
			return exitFinding
		case path.Undecided, path.Booting, path.Unidentified:
			worst = exitUndecided
		}
	}
	return worst
}
