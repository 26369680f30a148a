package main

import (
	"context"
	"fmt"
	"net/netip"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"tapwatch/internal/pairing"
	"tapwatch/internal/registry"
	"tapwatch/internal/sandbox/conns"
	"tapwatch/internal/sandbox/metrics"
	"tapwatch/internal/sandbox/network"
	"tapwatch/internal/sandbox/relay"
	"tapwatch/internal/sandbox/stream"
)

// relayConfig is what "tapwatch relay" is told.
type relayConfig struct {
	netns, listen, to string
	routes            string // a file of more
	freeBind          bool
	handover          string
	drain             time.Duration
	runDir            string // of the agent
	metricsListen     string
	stream            stream.Config
}

// relayCommand is "tapwatch relay": the relay alone, in place of socat.
func relayCommand() *cobra.Command {
	var cfg relayConfig
	c := &cobra.Command{
		Use:   "relay {--netns NAME --listen ADDRESS:PORT --to ADDRESS:PORT | --routes FILE}",
		Short: "Pass TCP connections on inside namespaces, until stopped",
		Long: `Relay listens inside a network namespace and passes every connection on, from
inside that namespace; by --routes it does so for many in one process.

At SIGTERM it listens no more, and ends when its connections have, or after
--drain; a second SIGTERM cuts them. With --handover it is replaced without a
failed connection: start the next one with the same path.`,
		Example: `  tapwatch relay --netns ns-110 --listen 10.12.0.221:49983 --to 169.254.0.21:49983
  tapwatch relay --routes slots.txt --handover /run/tapwatch/relay.sock`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			routes, err := cfg.list()
			if err != nil {
				return err
			}
			if err := network.NeedCapabilities(unix.CAP_SYS_ADMIN); err != nil {
				return err
			}
			return runRelay(cmd, cfg, routes)
		},
	}
	f := c.Flags()
	f.StringVar(&cfg.netns, "netns", "", "name of the namespace under /run/netns, or its path")
	f.StringVar(&cfg.listen, "listen", "", "address to listen on inside the namespace")
	f.StringVar(&cfg.to, "to", "", "address to pass connections on to, from inside the namespace")
	f.StringVar(&cfg.routes, "routes", "", "file of routes instead, a line each: NETNS LISTEN TO; - is stdin")
	f.BoolVar(&cfg.freeBind, "freebind", false, "listen also where the address is not there yet (default: fail)")
	f.StringVar(&cfg.handover, "handover", "", "unix socket at which to take over listening sockets, and then to offer them")
	f.DurationVar(&cfg.drain, "drain", 10*time.Second, "how long connections may go on after SIGTERM or a takeover")
	f.StringVar(&cfg.runDir, "run-dir", registry.DefaultDir, "directory of the agent that is told which connections belong together, if there is one")
	f.StringVar(&cfg.metricsListen, "metrics-listen", "", "address of the /metrics endpoint, e.g. 127.0.0.1:10918, for whoever reaches it; empty disables it")
	f.DurationVar(&cfg.stream.DialTimeout, "dial-timeout", 10*time.Second, "for connecting to the guest; its client is reset then")
	f.DurationVar(&cfg.stream.KeepAlive, "keep-alive", 15*time.Second, "between probes on a silent connection, which ends after four without an answer")
	f.DurationVar(&cfg.stream.UserTimeout, "user-timeout", 2*time.Minute, "that sent bytes may go without an answer")
	f.IntVar(&cfg.stream.Buffer, "buffer", 1<<20, "bytes that the kernel may queue for a connection, each way and side; -1 is its own limits")
	notNegative(f, "drain", "dial-timeout", "keep-alive", "user-timeout")
	return c
}

func runRelay(cmd *cobra.Command, cfg relayConfig, routes []relayRoute) error {
	ctx := cmd.Context()
	cfg.stream.Loops = runtime.GOMAXPROCS(0)
	runtime.GOMAXPROCS(2 * cfg.stream.Loops) // see stream.Config
	teller := new(pairing.Teller)
	cfg.stream.Paired, cfg.stream.Heard = teller.Tell, teller.Heard
	r, err := relay.WithConfig(cfg.stream)
	if err != nil {
		return err
	}
	defer r.Close()
	telling, stop := context.WithCancel(context.WithoutCancel(ctx)) // while it drains as well
	defer stop()
	go teller.Run(telling, cfg.runDir)
	asked, answerNone := context.WithCancel(telling) // for metrics, until another has taken over
	defer answerNone()
	var failed <-chan error // nil: nobody asks
	if cfg.metricsListen != "" {
		failed, err = serveLayers(asked, cfg.metricsListen, cfg.handover != "", func() []metrics.Layer {
			of, gone := r.Counts()
			return []metrics.Layer{{Name: conns.Relay, BySandbox: of, Gone: gone}}
		})
		if err != nil {
			return err
		}
	}
	var taken <-chan struct{} // nil: nobody will
	before := &relay.Inherited{}
	if cfg.handover != "" {
		if before, err = relay.Inherit(cfg.handover); err != nil {
			return err
		}
	}
	defer before.Close()
	for _, route := range routes {
		open, err := before.Open(r, stream.ListenConfig{Netns: route.netns, Addr: route.listen, FreeBind: cfg.freeBind}, route.to)
		if err != nil {
			return err
		}
		if len(routes) == 1 {
			fmt.Fprintf(cmd.ErrOrStderr(), "relaying %s in %s to %s\n", open.Addr(), route.netns, route.to)
		}
	}
	if err := before.Took(); err != nil {
		return err
	}
	if cfg.handover != "" {
		if taken, err = r.Offer(ctx, cfg.handover); err != nil {
			return err
		}
	}
	if len(routes) > 1 {
		fmt.Fprintf(cmd.ErrOrStderr(), "relaying %d routes\n", len(routes))
	}
	select {
	case <-ctx.Done():
	case err := <-failed:
		return err
	case <-taken:
		answerNone()
		fmt.Fprintln(cmd.ErrOrStderr(), "another relay has taken over")
	}
	return drainRelay(cmd, r, cfg.drain)
}

// drainRelay lets connections end by themselves, for a while.
func drainRelay(cmd *cobra.Command, r *relay.Relay, most time.Duration) error {
	again, stop := signal.NotifyContext(context.WithoutCancel(cmd.Context()), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(again, most)
	defer cancel()
	if err := r.Drain(ctx); err != nil {
		fmt.Fprintf(cmd.ErrOrStderr(), "%v: they are cut\n", err)
	}
	return r.Close()
}

func addrPort(flag, value string) (netip.AddrPort, error) {
	a, err := netip.ParseAddrPort(value)
	if err != nil {
		return a, fmt.Errorf("%s %q: must be ADDRESS:PORT, such as 10.12.0.3:49983", flag, value)
	}
	return a, nil
}

var errNoRoute = usagef("nothing to relay: give --netns, --listen and --to, or --routes")
