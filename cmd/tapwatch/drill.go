package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"time"

	"github.com/spf13/cobra"

	"tapwatch/agent"
	"tapwatch/agent/config"
	"tapwatch/agent/path"
	"tapwatch/internal/drill"
	"tapwatch/internal/sandbox"
	"tapwatch/internal/sandbox/proxy"
	"tapwatch/internal/sandbox/template"
	"tapwatch/internal/sandbox/vmm/qemu"
)

func drillCommand() *cobra.Command {
	var d drillRun
	cmd := &cobra.Command{
		Use:   "drill [FAULT...|all]",
		Short: "Break sandboxes and see whether the right cause is named",
		Long: `Drill launches sandboxes of its own, breaks them in the ways named, and waits for
the agent's finding: an agent of its own, which runs as long as the drill does.
Sandboxes of others are not touched. Without a name it lists the faults. With
--healthy it breaks nothing, and any finding is wrong. The exit status is 0 where
every cause was named rightly, 1 where one was not, 2 where a drill did not work.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			d.out, d.says, d.probeEvery = cmd.OutOrStdout(), cmd.ErrOrStderr(), time.Second
			ctx, stop := untilLeft(cmd.Context(), d.out)
			defer stop()
			switch {
			case d.healthy != 0 && len(args) > 0:
				return usagef("--healthy goes without faults")
			case d.healthy != 0:
				return d.calm(ctx)
			case len(args) == 0:
				return listFaults(d.out)
			}
			faults, err := drill.Find(args...)
			if err != nil {
				return usageError{err}
			}
			return d.run(ctx, faults)
		},
	}
	cmd.ValidArgsFunction = faultNames
	cmd.AddCommand(drillRandomCommand(&d))
	f := cmd.PersistentFlags()
	outputFlag(cmd, &d.output, "text, json or markdown", "text", "json", "markdown")
	f.StringVar(&d.alertmanager, "alertmanager", "", "URL of an Alertmanager: wait for the alert of each fault too. Its Prometheus must scrape --listen as job tapwatch")
	f.StringVar(&d.listen, "listen", "127.0.0.1:0", "where the drill's agent serves /metrics; port 0 takes a free one")
	f.StringVar(&d.sandbox.RunDir, "run-dir", "/run/tapwatch-drill", "where the drill records its slots, for tapwatch cleanup if it is killed")
	f.StringVar(&d.sandbox.DataDir, "data-dir", template.DefaultDir, "directory of templates and kernels")
	f.IntVar(&d.sandbox.FirstSlot, "first-slot", 1, "lowest slot index to use")
	f.StringVar(&d.accel, "accel", string(qemu.Auto), "auto (KVM where it really works), kvm or tcg (emulation)")
	f.IntVar(&d.sandbox.MemoryMiB, "memory", sandbox.DefaultMemoryMiB, "memory of each sandbox, in MiB")
	launchChecks(f)
	config.Check(f, "listen", listenAddress)
	f.DurationVar(&d.patience, "patience", 30*time.Second, "how long the agent may take to name a fault")
	f = cmd.Flags()
	f.IntVar(&d.healthy, "healthy", 0, "instead of faults: that many healthy sandboxes under load, of which nothing must be found")
	f.DurationVar(&d.period, "for", 2*time.Minute, "with --healthy: how long")
	return cmd
}

// explainedShare is how many of a hundred random faults that break a path a check must
// know: unexplained is no way out.
const explainedShare = 70

func drillRandomCommand(d *drillRun) *cobra.Command {
	var seed uint64
	var count int
	cmd := &cobra.Command{
		Use:   "random",
		Short: "Make random faults and judge the verdict by requests and packets",
		Long: `Random makes faults of random kinds at random places of paths of all shapes: rules of
packet filters, routes, rules of routing, neighbours, queues, sysctls, a link, a VMM that
is stopped or frozen.
Nothing is expected of a check: packets are captured at every device of the path, and
the first that requests or answers do not come to is where the path must be called
broken; while requests are answered it must not. The same seed makes the same faults.
The exit status is 0 where every verdict was right and seven tenths of the broken paths
were explained, 1 where not, 2 where a drill did not work.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d.out, d.says = cmd.OutOrStdout(), cmd.ErrOrStderr()
			if count < 1 {
				return usagef("--count: must be above 0")
			}
			ctx, stop := untilLeft(cmd.Context(), cmd.OutOrStdout())
			defer stop()
			return d.random(ctx, seed, count)
		},
	}
	outputFlag(cmd, &d.output, "text or json", "text", "json")
	cmd.Flags().Uint64Var(&seed, "seed", 1, "of the faults")
	cmd.Flags().IntVar(&count, "count", 10, "how many faults")
	return cmd
}

func (d *drillRun) random(ctx context.Context, seed uint64, count int) error {
	var results []drill.Result
	err := d.drill(ctx, drill.Random(seed, count), &results)
	if status := drillStatus(results); err == nil {
		err = status
	}
	explained, broken := drill.Explained(results)
	if d.output == "text" {
		fmt.Fprintf(d.out, "%d of %d broken paths were explained\n", explained, broken)
	}
	if err == nil && 100*explained < explainedShare*broken {
		return exitFinding
	}
	return err
}

// drillRun is one run of the command.
type drillRun struct {
	output, alertmanager, listen, accel string
	sandbox                             sandbox.Config
	patience, period                    time.Duration
	healthy                             int
	probeEvery                          time.Duration
	out, says                           io.Writer
}

func (d *drillRun) run(ctx context.Context, faults []drill.Fault) error {
	var results []drill.Result
	if err := d.drill(ctx, faults, &results); err != nil {
		return err
	}
	return drillStatus(results)
}

// drill makes the faults and prints what came of them.
func (d *drillRun) drill(ctx context.Context, faults []drill.Fault, results *[]drill.Result) error {
	if d.patience <= 0 {
		return usagef("--patience: must be above 0")
	}
	if err := d.build(ctx, drill.Variants(faults)); err != nil {
		return err
	}
	start := time.Now()
	err := d.inWorld(func(w *drill.World) error {
		p := newProgress(d.says)
		defer p.End()
		p.Of(0, len(faults))
		w.Step = p.Step
		return w.Run(ctx, faults, func(r drill.Result) {
			*results = append(*results, r)
			p.Of(len(*results), len(faults))
			if d.output == "text" {
				p.Over(func() { r.Line(d.out) })
			}
		})
	})
	if err != nil {
		return err
	}
	return d.report(*results, time.Since(start))
}

// calm is the drill without a fault.
func (d *drillRun) calm(ctx context.Context) error {
	if d.healthy < 0 || d.period <= 0 {
		return usagef("--healthy and --for: must be above 0")
	}
	if err := d.build(ctx, []template.Variant{template.Default}); err != nil {
		return err
	}
	var h drill.Healthy
	err := d.inWorld(func(w *drill.World) (err error) { h, err = w.Calm(ctx, d.healthy, d.period); return err })
	if err != nil {
		return err
	}
	if d.output == "json" {
		err = json.NewEncoder(d.out).Encode(h)
	} else {
		h.Line(d.out)
	}
	if err == nil && len(h.Findings) > 0 {
		return exitFinding
	}
	return err
}

func (d *drillRun) build(ctx context.Context, variants []template.Variant) error {
	return buildAll(ctx, d.says, d.sandbox.DataDir, variants)
}

func (d *drillRun) report(results []drill.Result, took time.Duration) error {
	switch d.output {
	case "json":
		return json.NewEncoder(d.out).Encode(results)
	case "markdown":
		drill.Markdown(d.out, results)
	default:
		fmt.Fprintln(d.out, drill.Tally(results, took))
	}
	return nil
}

func drillStatus(results []drill.Result) error {
	var worst error
	for _, r := range results {
		switch {
		case r.Error != "":
			return exitUndecided
		case !r.Right:
			worst = exitFinding
		}
	}
	return worst
}

// inWorld makes a launcher, a proxy and an agent, does the work, and removes all
// of it again.
func (d *drillRun) inWorld(work func(*drill.World) error) (err error) {
	// What the launcher and the agent would log of the faults, the results tell.
	log := slog.New(atLeast{slog.Default().Handler(), slog.LevelError})
	d.sandbox.Accel, d.sandbox.Log = qemu.Accel(d.accel), log
	m, err := sandbox.New(d.sandbox)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	p, err := m.Proxy(proxy.Config{})
	if err != nil {
		return err
	}
	layer, err := drill.StartLayer("127.0.0.1:0", p)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, layer.Close()) }()
	cache, err := os.MkdirTemp("", "tapwatch-drill")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(cache)) }()
	a, err := agent.New(agent.Config{
		Listen: d.listen, RunDir: d.sandbox.RunDir, Proxy: netip.MustParseAddrPort(layer.Addr().String()), TemplateCache: cache, ProbeEvery: d.probeEvery, Log: log,
	})
	if err != nil {
		return err
	}
	watching, stop := context.WithCancel(context.Background())
	watched := make(chan error, 1)
	go func() { watched <- a.Run(watching) }()
	defer func() { stop(); err = errors.Join(err, <-watched) }()
	w := &drill.World{
		Manager: m, Proxy: layer, Patience: d.patience, Cache: cache, RunDir: d.sandbox.RunDir,
		Slots: func(context.Context) ([]path.Slot, error) { return a.Slots(), nil },
		Step:  func(what string) { fmt.Fprintln(d.says, what) },
	}
	if d.alertmanager != "" {
		w.Alerts = &drill.Alertmanager{URL: d.alertmanager}
		fmt.Fprintf(d.says, "metrics: http://%s/metrics\n", a.Addr())
	}
	return work(w)
}

func listFaults(out io.Writer) error {
	var t table
	t.row("FAULT", "HOP", "EXPECTED", "WHAT IS DONE")
	for _, f := range drill.Faults() {
		t.row(f.Name, f.Hop, f.Expected, f.What)
	}
	return t.print(out, screenOf(out))
}
