package main

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"tapwatch/agent/config"
	"tapwatch/internal/sandbox/proxy"
)

// addLimits are the flags of the proxy's limits, alone or in the launcher.
func addLimits(cmd *cobra.Command, l *proxy.Limits) {
	f := cmd.Flags()
	f.IntVar(&l.MaxRequests, "max-requests", proxy.DefaultMaxRequests, "open requests and connections to one sandbox at most; for more, the client gets a 429")
	f.IntVar(&l.MaxHeader, "max-header", proxy.DefaultMaxHeader, "bytes of headers of a request or a response at most; for more, the client gets a 431 or a 502")
	f.DurationVar(&l.HeaderTimeout, "header-timeout", proxy.DefaultHeaderTimeout, "time for a client to send the headers of a request")
	f.DurationVar(&l.IdleTimeout, "idle-timeout", proxy.DefaultIdleTimeout, "time that a client's connection may be idle between two requests")
	f.DurationVar(&l.DialTimeout, "dial-timeout", proxy.DefaultDialTimeout, "time for a sandbox to accept a connection (a paused one does not); afterwards the client gets a 502")
	f.DurationVar(&l.FirstByteTimeout, "first-byte-timeout", proxy.DefaultFirstByteTimeout, "time to first response byte; afterwards the client gets a 502")
	f.DurationVar(&l.UserTimeout, "user-timeout", proxy.DefaultUserTimeout, "time for the other side's kernel to acknowledge data; afterwards the connection is reset")
	notNegative(f, "max-requests", "header-timeout", "idle-timeout", "dial-timeout", "first-byte-timeout", "user-timeout")
	config.Check(f, "max-header", func(value string) error {
		if n, err := strconv.Atoi(value); err != nil || n < proxy.MinHeader || n > proxy.DefaultMaxHeader {
			return fmt.Errorf("must be a number from %d to %d", proxy.MinHeader, proxy.DefaultMaxHeader)
		}
		return nil
	})
}
