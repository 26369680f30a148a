package main

import (
	"github.com/spf13/cobra"

	"tapwatch/internal/sandbox/proxy"
)

// addLimits are the flags of layer 1's limits, alone or in the launcher.
func addLimits(cmd *cobra.Command, l *proxy.Limits) {
	f := cmd.Flags()
	f.IntVar(&l.MaxRequests, "max-requests", proxy.DefaultMaxRequests, "requests and other connections to one sandbox that may be open at once; more are answered 429")
	f.IntVar(&l.MaxHeader, "max-header", proxy.DefaultMaxHeader, "length of the headers of a request or an answer, in bytes; longer ones are answered 431 or 502")
	f.DurationVar(&l.HeaderTimeout, "header-timeout", proxy.DefaultHeaderTimeout, "how long a client may take for the headers of a request")
	f.DurationVar(&l.IdleTimeout, "idle-timeout", proxy.DefaultIdleTimeout, "how long a client's connection may be idle between two requests")
	f.DurationVar(&l.DialTimeout, "dial-timeout", proxy.DefaultDialTimeout, "how long a sandbox may take to accept a connection, as one that is paused does not, until the request is a 502")
	f.DurationVar(&l.FirstByteTimeout, "first-byte-timeout", proxy.DefaultFirstByteTimeout, "time to first response byte; afterwards the client gets a 502")
	f.DurationVar(&l.UserTimeout, "user-timeout", proxy.DefaultUserTimeout, "how long data may go without an answer from the other side's kernel until the connection is reset")
}
