package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"tapwatch/internal/registry"
	"tapwatch/internal/sandbox/proxy"
)

// drainTime is how long requests under way may take to end when a server stops.
const drainTime = 2 * time.Second

// proxyCommand is "tapwatch proxy": layer 1 alone, for the sandboxes of
// whatever launcher runs on this host.
func proxyCommand() *cobra.Command {
	var listen, domain, runDir string
	c := &cobra.Command{
		Use:   "proxy",
		Short: "Route HTTP requests to the sandboxes of this host, until stopped",
		Long: `Proxy passes a request on to the sandbox that it names by the header
E2b-Sandbox-Id (and E2b-Sandbox-Port), or by Host {port}-{id}.{domain}, or to the
only sandbox. It finds sandboxes by the launcher's records, and reaches those of
their ports that a relay listens on.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := proxy.New(proxy.Config{Resolve: proxy.FromRegistry(registry.Dir(runDir)), Domain: domain})
			if err != nil {
				return err
			}
			l, err := net.Listen("tcp", listen)
			if err != nil {
				return fmt.Errorf("--listen %s: %w", listen, err)
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "proxy listens on %s\n", l.Addr())
			return serveUntil(cmd.Context(), l, proxy.NewServer(p))
		},
	}
	c.Flags().StringVar(&listen, "listen", "127.0.0.1:49983", "address to listen on")
	c.Flags().StringVar(&domain, "domain", "", "of Host {port}-{id}.{domain} (default: any)")
	c.Flags().StringVar(&runDir, "run-dir", registry.DefaultDir, "directory of the launcher's records")
	return c
}

// serveUntil serves until ctx ends, then gives requests drainTime and cuts the rest.
func serveUntil(ctx context.Context, l net.Listener, s *http.Server) error {
	failed := make(chan error, 1)
	go func() { failed <- s.Serve(l) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	if s.Shutdown(drain) != nil {
		_ = s.Close() // the listener is closed; what it says is of connections being cut
	}
	return nil
}
