package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"tapwatch/agent/config"
	"tapwatch/internal/pairing"
	"tapwatch/internal/registry"
	"tapwatch/internal/sandbox"
	"tapwatch/internal/sandbox/conns"
	"tapwatch/internal/sandbox/metrics"
	"tapwatch/internal/sandbox/proxy"
	"tapwatch/internal/sandbox/stream"
)

// proxyFlags are the flags of the proxy alone.
type proxyFlags struct {
	listen, runDir string
	metricsListen  string
	drain          time.Duration
	waitBooting    time.Duration
	cfg            proxy.Config
}

// proxyCommand is "tapwatch proxy": the proxy alone, for the sandboxes of
// whatever launcher runs on this host.
func proxyCommand() *cobra.Command {
	var f proxyFlags
	c := &cobra.Command{
		Use:   "proxy",
		Short: "Route requests to the sandboxes of this host, until stopped",
		Long: `Proxy passes a request on to the sandbox that it names by the header
E2b-Sandbox-Id (and E2b-Sandbox-Port), or by Host {port}-{id}.{domain}, or to the
only sandbox. What is no HTTP goes to the only sandbox too. It finds sandboxes by
the launcher's records, and reaches those of their ports that a relay listens on.
When a sandbox goes its connections are cut.

Where a supervisor passes the listening socket on (systemd: a .socket unit), no
connection fails when the proxy is replaced: the one that is stopped ends each
connection after its answer, within --drain.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	c.Flags().StringVar(&f.listen, "listen", "127.0.0.1:49983", "address to listen on")
	c.Flags().StringVar(&f.cfg.Domain, "domain", "", "domain in the header Host: {port}-{id}.{domain}; empty: any domain")
	c.Flags().StringVar(&f.runDir, "run-dir", registry.DefaultDir, "directory of the launcher's records")
	c.Flags().DurationVar(&f.drain, "drain", 2*time.Second, "time for open connections to end after SIGTERM; afterwards they are cut")
	c.Flags().DurationVar(&f.waitBooting, "wait-booting", sandbox.DefaultWaitBooting, "time that a request waits for a booting sandbox; afterwards the client gets a 502")
	c.Flags().StringVar(&f.metricsListen, "metrics-listen", "", "address of the /metrics endpoint; empty disables it")
	addLimits(c, &f.cfg.Limits)
	config.Check(c.Flags(), "listen", listenAddress)
	notNegative(c.Flags(), "drain", "wait-booting")
	return c
}

func (f *proxyFlags) run(cmd *cobra.Command) (err error) {
	var (
		p      *proxy.Proxy
		teller pairing.Teller
	)
	records := proxy.NewRecords(registry.Dir(f.runDir), f.waitBooting, func(id string) { p.Forget(id) })
	f.cfg.Resolve, f.cfg.Paired, f.cfg.Heard = records.Resolve, teller.Tell, teller.Heard
	p, err = proxy.New(f.cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	l, err := f.take(p)
	if err != nil {
		return err
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "proxy listens on %s\n", l.Addr())
	g, ctx := errgroup.WithContext(cmd.Context())
	if f.metricsListen != "" {
		ended, err := serveLayers(ctx, f.metricsListen, false, func() []metrics.Layer {
			of, gone := p.Counts()
			return []metrics.Layer{{Name: conns.Proxy, BySandbox: of, Gone: gone}}
		})
		if err != nil {
			return err
		}
		g.Go(func() error { return <-ended })
	}
	g.Go(func() error { return records.Run(ctx) })
	g.Go(func() error { teller.Run(ctx, f.runDir); return nil })
	g.Go(func() error {
		<-ctx.Done()
		drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), f.drain)
		defer cancel()
		_ = p.Drain(drain) // what is left then is cut
		return nil
	})
	return g.Wait()
}

// take listens, on the socket that a supervisor holds for us if there is one: it
// then outlives us, and no connection fails while we are replaced. It is told as
// systemd tells it (sd_listen_fds(3)).
func (f *proxyFlags) take(p *proxy.Proxy) (*stream.Listener, error) {
	const first = 3
	if os.Getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) {
		l, err := p.Listen(f.listen)
		if err != nil {
			return nil, fmt.Errorf("--listen %s: %w", f.listen, err)
		}
		return l, nil
	}
	if n := os.Getenv("LISTEN_FDS"); n != "1" {
		return nil, fmt.Errorf("LISTEN_FDS is %q: give one listening socket", n)
	}
	socket := os.NewFile(first, "LISTEN_FDS")
	defer socket.Close() // the engine has its own
	return p.Take(socket)
}
