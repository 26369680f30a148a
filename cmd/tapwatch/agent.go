package main

import (
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"

	"tapwatch/agent"
	"tapwatch/agent/probe"
	"tapwatch/internal/profile"
	"tapwatch/internal/registry"
)

func agentCommand() *cobra.Command {
	var flags agentFlags
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Watch this host: /metrics, API and page",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := flags.config()
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
			return a.Run(cmd.Context())
		},
	}
	flags.add(cmd)
	cmd.Flags().StringVar(&flags.runDir, "run-dir", registry.DefaultDir, "where launchers keep their records, and the agent its notes")
	cmd.Flags().StringVar(&flags.proxy, "proxy", "127.0.0.1:49983", "where layer 1 is expected to listen")
	return cmd
}

// gcPercent trades some CPU for memory: the agent's garbage is little, what it
// keeps of ten thousand slots is much. GOGC overrides it.
const gcPercent = 50

// agentFlags are the flags of the agent, alone or in up.
type agentFlags struct {
	listen, runDir, proxy, pyroscope, attachMode, templateCache string
	probeEvery, seriesGrace                                     time.Duration
	hops                                                        bool
	hopsPerSandbox                                              int
}

func (f *agentFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.listen, "listen", "127.0.0.1:10917", "where the agent serves /metrics, API and page; port 0 takes a free one")
	cmd.Flags().StringVar(&f.attachMode, "attach-mode", string(probe.ModeAuto), "how to see the frames of taps: auto, tc, tcx or tracepoint")
	cmd.Flags().StringVar(&f.templateCache, "template-cache", "", "E2B's template cache, {build}/cache/{id}/metadata.json; empty: not looked at")
	cmd.Flags().DurationVar(&f.probeEvery, "probe-every", 0, "ask the envd of each sandbox for its health whose clients were not answered for so long, and so often then, straight at the tap and through layer 1, e.g. 30s; 0: never")
	cmd.Flags().DurationVar(&f.seriesGrace, "series-grace", 30*time.Second, "for how long the counters of a sandbox's tap are still told when it has gone, so that a scrape sees the last of them; 0: not at all")
	cmd.Flags().BoolVar(&f.hops, "hops", true, "measure the latency of every hop; costs every packet of the host some nanoseconds")
	cmd.Flags().IntVar(&f.hopsPerSandbox, "hops-per-sandbox", 0, "how many sandboxes get latencies of their own besides those of all: 4 histograms each")
	cmd.Flags().StringVar(&f.pyroscope, "pyroscope", "", "URL of a Pyroscope server to send profiles of this process to; empty: none")
}

func (f *agentFlags) config() (agent.Config, error) {
	proxy, err := netip.ParseAddrPort(f.proxy)
	if err != nil {
		return agent.Config{}, fmt.Errorf("--proxy %q: must be an address and port like 127.0.0.1:49983", f.proxy)
	}
	if f.seriesGrace < 0 {
		return agent.Config{}, fmt.Errorf("--series-grace %s: must not be negative", f.seriesGrace)
	}
	if f.seriesGrace == 0 {
		f.seriesGrace = -1 // of the agent's Config, where zero is its default
	}
	return agent.Config{
		Listen: f.listen, RunDir: f.runDir, Proxy: proxy, TemplateCache: f.templateCache, ProbeEvery: f.probeEvery,
		AttachMode: probe.Mode(f.attachMode), SeriesGrace: f.seriesGrace, NoHops: !f.hops, HopsPerSandbox: f.hopsPerSandbox,
	}, nil
}
