package main

import (
	"fmt"
	"net/netip"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"tapwatch/internal/pairing"
	"tapwatch/internal/registry"
	"tapwatch/internal/sandbox/network"
	"tapwatch/internal/sandbox/relay"
	"tapwatch/internal/sandbox/stream"
)

// relayCommand is "tapwatch relay": layer 2 alone, in place of socat.
func relayCommand() *cobra.Command {
	var ns, listen, to, runDir string
	c := &cobra.Command{
		Use:     "relay --netns NAME --listen ADDRESS:PORT --to ADDRESS:PORT",
		Short:   "Pass TCP connections on inside a namespace, until stopped",
		Example: `  tapwatch relay --netns ns-110 --listen 10.12.0.221:49983 --to 169.254.0.21:49983`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			from, err := addrPort("--listen", listen)
			if err != nil {
				return err
			}
			dest, err := addrPort("--to", to)
			if err != nil {
				return err
			}
			if err := network.NeedCapabilities(unix.CAP_SYS_ADMIN); err != nil {
				return err
			}
			teller := new(pairing.Teller)
			r, err := relay.WithConfig(stream.Config{Paired: teller.Tell})
			if err != nil {
				return err
			}
			defer r.Close()
			route, err := r.Listen(ns, from, dest)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "relaying %s in %s to %s\n", route.Addr(), ns, dest)
			teller.Run(cmd.Context(), runDir)
			return r.Close()
		},
	}
	c.Flags().StringVar(&ns, "netns", "", "name of the namespace under /run/netns, or its path")
	c.Flags().StringVar(&listen, "listen", "", "address to listen on inside the namespace")
	c.Flags().StringVar(&to, "to", "", "address to pass connections on to, from inside the namespace")
	c.Flags().StringVar(&runDir, "run-dir", registry.DefaultDir, "directory of the agent that is told which connections belong together, if there is one")
	for _, name := range []string{"netns", "listen", "to"} {
		_ = c.MarkFlagRequired(name) // fails only for a flag that does not exist
	}
	return c
}

func addrPort(flag, value string) (netip.AddrPort, error) {
	a, err := netip.ParseAddrPort(value)
	if err != nil {
		return a, fmt.Errorf("%s %q: must be ADDRESS:PORT, such as 10.12.0.3:49983", flag, value)
	}
	return a, nil
}
