package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"tapwatch/agent"
	"tapwatch/agent/config"
	"tapwatch/internal/profile"
)

func agentCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Watch this host: /metrics, API and page",
		Long: `Agent watches every tap of this host and serves what it finds.

Each flag can also be set by an environment variable (TAPWATCH_LISTEN for --listen)
and in the YAML file that --config names (listen). A flag wins over the variable,
the variable over the file, the file over the default. At SIGHUP the agent reads
the file again; a file with an error leaves the old configuration in force.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runAgent(cmd, loaderOf(cmd, file))
		},
	}
	var flags agentFlags // only the command line is read into it: see loaderOf
	flags.addAlone(cmd.Flags())
	cmd.PersistentFlags().StringVar(&file, config.FileFlag, "", "YAML file of settings (default "+config.DefaultFile+", if it exists)")
	config.Check(cmd.PersistentFlags(), config.FileFlag, config.FileName)
	cmd.AddCommand(configCommand(&file))
	return cmd
}

// gcPercent trades some CPU for memory: the agent's garbage is little, what it
// keeps of ten thousand slots is much. GOGC overrides it.
const gcPercent = 50

func runAgent(cmd *cobra.Command, l config.Loader) error {
	// Before anything else: without a handler, SIGHUP ends the process.
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	flags, inForce, err := loadAgent(l)
	if err != nil {
		return err
	}
	level, err := flags.logs.use()
	if err != nil {
		return err
	}
	cfg, err := agentConfig(flags, inForce)
	if err != nil {
		return err
	}
	stop, err := profile.Start(flags.pyroscope, "tapwatch.agent", slog.Default())
	if err != nil {
		return err
	}
	defer stop()
	cfg.DropPrivileges = true
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	a, err := agent.New(cfg)
	if err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "metrics: http://%s/metrics\npage: http://%[1]s/\n", a.Addr())
	reloader := config.Reloader[*agentFlags]{
		Load: func() (*agentFlags, *config.Config, error) { return loadAgent(l) },
		Apply: func(f *agentFlags, c *config.Config) error {
			if err := reconfigure(a, f, c); err != nil {
				return err
			}
			return level.UnmarshalText([]byte(f.logs.level))
		},
		Log:     slog.With("part", "config"),
		InForce: inForce,
	}
	ctx, cancel := context.WithCancel(cmd.Context())
	reloading := make(chan struct{})
	go func() { defer close(reloading); reloader.Run(ctx, hup) }()
	defer func() { cancel(); <-reloading }()
	return a.Run(ctx)
}

// loaderOf says where the agent's settings come from, after a command line was
// read.
func loaderOf(cmd *cobra.Command, file string) config.Loader {
	return config.Loader{
		File: file, Fallback: config.DefaultFile, Given: config.GivenOn(cmd.Flags()), LookupEnv: os.LookupEnv,
	}
}
