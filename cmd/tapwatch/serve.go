package main

import (
	"fmt"
	"io"
	"log/slog"

	"github.com/spf13/cobra"

	"tapwatch/agent/config"
	"tapwatch/internal/profile"
	"tapwatch/internal/registry"
	"tapwatch/internal/sandbox"
	"tapwatch/internal/sandbox/server"
	"tapwatch/internal/sandbox/template"
	"tapwatch/internal/sandbox/vmm/qemu"
)

func serveCommand() *cobra.Command {
	var flags serveFlags
	var profiles string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Launch sandboxes: control API, proxy, slots, relays, VMMs",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			stop, err := profile.Start(profiles, "tapwatch.serve", slog.Default())
			if err != nil {
				return err
			}
			defer stop()
			ctx, done := untilHangup(cmd.Context())
			defer done()
			s, err := flags.start(cmd.OutOrStdout())
			if err != nil {
				return err
			}
			return s.Run(ctx)
		},
	}
	flags.add(cmd)
	cmd.Flags().StringVar(&flags.cfg.MetricsListen, "metrics-listen", "", "address of the /metrics endpoint; empty disables it")
	cmd.Flags().StringVar(&profiles, "pyroscope", "", "URL of the Pyroscope server that gets profiles of this process; empty disables it")
	return cmd
}

// paths tells the shapes of a path in a line of help.
const paths = "relay (a relay in the namespace), fused (the proxy dials from inside the namespace) or dnat (the namespace's kernel forwards)"

// serveFlags are the flags of the launcher, alone or in up.
type serveFlags struct {
	cfg   server.Config
	accel string
	path  string
}

func (f *serveFlags) add(cmd *cobra.Command) {
	s := &f.cfg.Sandbox
	addLimits(cmd, &f.cfg.Limits)
	cmd.Flags().StringVar(&s.RunDir, "run-dir", registry.DefaultDir, "directory of the records of slots, of consoles and of hooks")
	cmd.Flags().StringVar(&s.DataDir, "data-dir", template.DefaultDir, "directory of templates and kernels")
	cmd.Flags().StringVar(&f.cfg.APIListen, "api-listen", "127.0.0.1:3000", "address of the control API; port 0 takes a free port")
	cmd.Flags().StringVar(&f.cfg.ProxyListen, "proxy-listen", "127.0.0.1:49983", "address of the proxy; port 0 takes a free port")
	cmd.Flags().StringSliceVar(&f.cfg.Keys, "api-key", nil, "keys that the control API accepts; none: every key, on loopback only")
	cmd.Flags().StringVar(&f.cfg.Domain, "domain", "", "domain in the header Host: {port}-{id}.{domain}; empty: any domain")
	cmd.Flags().IntVar(&s.PoolSize, "pool", 2, "idle slots kept ready")
	cmd.Flags().IntVar(&s.FirstSlot, "first-slot", 1, "lowest slot index to use")
	cmd.Flags().IntVar(&s.VCPUs, "vcpus", sandbox.DefaultVCPUs, "virtual CPUs of each sandbox")
	cmd.Flags().IntVar(&s.MemoryMiB, "memory", sandbox.DefaultMemoryMiB, "memory of each sandbox, in MiB")
	cmd.Flags().IntVar(&s.Boots, "boots", 0, "sandboxes that boot at a time; others wait in order (default: the number of CPUs)")
	cmd.Flags().IntVar(&s.BootQueue, "boot-queue", sandbox.DefaultBootQueue, "sandboxes that wait for their turn to boot at most; for more, the client gets a 503")
	cmd.Flags().IntVar(&s.MaxSandboxes, "max-sandboxes", 0, "sandboxes at most; for more, the client gets a 503 (default: as many as the host has memory for)")
	cmd.Flags().IntVar(&s.MaxPerOwner, "max-per-key", 0, "sandboxes of one API key at most; for more, the client gets a 429; 0: any number")
	cmd.Flags().DurationVar(&s.BootTimeout, "boot-timeout", sandbox.DefaultBootTimeout, "time for a sandbox to boot until envd answers; afterwards it has failed")
	cmd.Flags().DurationVar(&s.WaitBooting, "wait-booting", sandbox.DefaultWaitBooting, "time that a request waits for a booting sandbox; afterwards the client gets a 502")
	cmd.Flags().StringVar(&f.path, "path", string(registry.Relay), "how the proxy reaches the guests: "+paths)
	cmd.Flags().StringVar(&f.accel, "accel", string(qemu.Auto), "how VMs run: auto (KVM where it works), kvm or tcg (emulation)")
	launchChecks(cmd.Flags())
	pathWords(cmd.Flags())
	notNegative(cmd.Flags(), "pool", "vcpus", "boot-timeout", "wait-booting")
	for _, name := range []string{"api-listen", "proxy-listen"} {
		config.Check(cmd.Flags(), name, listenAddress)
	}
}

// start makes the server and prints where it answers.
func (f *serveFlags) start(out io.Writer) (*server.Server, error) {
	f.cfg.Sandbox.Accel = qemu.Accel(f.accel)
	f.cfg.Sandbox.Path = registry.Shape(f.path)
	s, err := server.New(f.cfg)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(out, "api: http://%s\nproxy: http://%s\n", s.APIAddr(), s.ProxyAddr())
	return s, nil
}
