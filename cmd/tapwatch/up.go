package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"tapwatch/agent"
	"tapwatch/agent/top"
	"tapwatch/internal/demo"
	"tapwatch/internal/sandbox/metrics"
	"tapwatch/internal/sandbox/server"
	"tapwatch/internal/sandbox/template"
)

func upCommand() *cobra.Command {
	var u up
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Agent and launcher in one process: the quick start",
		Long: `Up launches sandboxes on request (control API, proxy) and watches this host at
the same time. It builds the default template where it is missing. With --demo it
launches four sandboxes, three of them with a fault, and draws their paths. It
stays up until Ctrl-C, SIGTERM, SIGHUP, or until nobody reads its output any more,
then removes everything that it made.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			u.out = cmd.OutOrStdout()
			ctx, stop := untilLeft(cmd.Context(), u.out)
			defer stop()
			return u.run(ctx)
		},
	}
	u.agent.add(cmd.Flags())
	u.serve.add(cmd)
	cmd.Flags().BoolVar(&u.demo, "demo", false, "launch four sandboxes, three of them broken, and draw their paths")
	cmd.Flags().BoolVar(&u.once, "once", false, "with --demo: draw and exit")
	return cmd
}

// up is one run of the command.
type up struct {
	agent      agentFlags
	serve      serveFlags
	demo, once bool
	out        io.Writer
}

func (u *up) run(ctx context.Context) error {
	if u.once && !u.demo {
		return usagef("--once goes with --demo")
	}
	s, a, err := u.start()
	if err != nil {
		return err
	}
	// Both live until the work is done; each removes what it made. The launcher
	// goes first, so that the agent still sees its slots go.
	serving, stop := context.WithCancel(ctx)
	defer stop()
	watching, stopAgent := context.WithCancel(context.Background())
	defer stopAgent()
	g := new(errgroup.Group)
	g.Go(func() error { defer stop(); return a.Run(watching) })
	g.Go(func() error { defer stopAgent(); return s.Run(serving) })
	g.Go(func() error {
		defer stop()
		err := u.work(serving, s, a)
		if u.once && ctx.Err() != nil {
			return errors.New("interrupted before the demo was drawn") // or a script would take it for done
		}
		if serving.Err() != nil { // Ctrl-C, or a part that failed and says so itself
			return nil
		}
		return err
	})
	return g.Wait()
}

// start makes both halves, or neither. The demo's faults are expected: what the
// launcher would log of them stands in the demo's own words.
func (u *up) start() (*server.Server, *agent.Agent, error) {
	if u.demo {
		u.serve.cfg.Log = slog.New(atLeast{slog.Default().Handler(), slog.LevelError})
	}
	s, err := u.serve.start(u.out)
	if err != nil {
		return nil, nil, err
	}
	u.agent.runDir = u.serve.cfg.Sandbox.RunDir
	u.agent.proxy = s.ProxyAddr().String()
	cfg, err := u.agent.config()
	if err == nil {
		cfg.Also = []prometheus.Collector{metrics.Collector{Layers: s.Manager().Layers, Detail: u.agent.metricsDetail}}
		var a *agent.Agent
		if a, err = agent.New(cfg); err == nil {
			fmt.Fprintf(u.out, "metrics: http://%s/metrics\npage: http://%[1]s/\n", a.Addr())
			return s, a, nil
		}
	}
	return nil, nil, errors.Join(err, s.Close())
}

// work is what happens while both run: templates, the demo, then events until
// the context ends.
func (u *up) work(ctx context.Context, s *server.Server, a *agent.Agent) error {
	variants := []template.Variant{template.Default}
	if u.demo {
		variants = demo.Variants()
	}
	if err := buildAll(ctx, u.out, u.serve.cfg.Sandbox.DataDir, variants); err != nil {
		return err
	}
	if u.demo {
		if err := u.show(ctx, s, a); err != nil || u.once {
			return err
		}
	}
	fmt.Fprintln(u.out, "\nup until Ctrl-C; what happens from now on:")
	events := a.Events().Subscribe()
	defer events.Close()
	on := screenOf(u.out)
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-events.C:
			top.Event(u.out, e, on)
		}
	}
}

// show runs the demo up to its pictures and leaves its traffic running.
func (u *up) show(ctx context.Context, s *server.Server, a *agent.Agent) error {
	d, err := demo.Launch(ctx, demo.Config{
		Manager: s.Manager(), ProxyURL: "http://" + s.ProxyAddr().String(), Slots: a.Slots,
		Out: u.out, Screen: screenOf(u.out),
	})
	if err != nil {
		return err
	}
	if err := d.Traffic(ctx); err != nil {
		return err
	}
	err = d.Draw(ctx)
	fmt.Fprint(u.out, hopTimes(a.HopTimes()))
	fmt.Fprintf(u.out, "\nmetrics: http://%s/metrics\npage: http://%[1]s/\n", a.Addr())
	if err == nil && !u.once {
		go d.Keep(ctx)
	}
	return err
}

// hopTimes is a line of where the time of requests goes.
func hopTimes(all []agent.HopTime) string {
	if len(all) == 0 {
		return ""
	}
	line := "\nwhere the time of a request goes (medians):"
	for i, h := range all {
		if i > 0 {
			line += ","
		}
		line += fmt.Sprintf(" %s %s", h.Hop, h.Median.Round(time.Microsecond))
	}
	return line + "\n"
}

// atLeast is a handler that drops what is below a level.
type atLeast struct {
	slog.Handler
	level slog.Level
}

// Enabled implements slog.Handler.
func (h atLeast) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= h.level && h.Handler.Enabled(ctx, l)
}
