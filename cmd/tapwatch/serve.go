package main

import (
	"fmt"
	"io"
	"log/slog"

	"github.com/spf13/cobra"

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
		Short: "Launch sandboxes: control API, layer-1 proxy, slots, relays, VMMs",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			stop, err := profile.Start(profiles, "tapwatch.serve", slog.Default())
			if err != nil {
				return err
			}
			defer stop()
			s, err := flags.start(cmd.OutOrStdout())
			if err != nil {
				return err
			}
			return s.Run(cmd.Context())
		},
	}
	flags.add(cmd)
	cmd.Flags().StringVar(&flags.cfg.MetricsListen, "metrics-listen", "", "address of the /metrics endpoint; empty disables it")
	cmd.Flags().StringVar(&profiles, "pyroscope", "", "URL of the Pyroscope server that gets profiles of this process; empty disables it")
	return cmd
}

// paths tells the shapes of a path in a line of help.
const paths = "relay (a relay in the namespace), fused (layer 1 dials from inside it) or dnat (its kernel passes on)"

// serveFlags are the flags of the launcher, alone or in up.
type serveFlags struct {
	cfg   server.Config
	accel string
	path  string
}

func (f *serveFlags) add(cmd *cobra.Command) {
	s := &f.cfg.Sandbox
	addLimits(cmd, &f.cfg.Limits)
	cmd.Flags().StringVar(&s.RunDir, "run-dir", registry.DefaultDir, "where slots, consoles and hooks are recorded")
	cmd.Flags().StringVar(&s.DataDir, "data-dir", template.DefaultDir, "directory of templates and kernels")
	cmd.Flags().StringVar(&f.cfg.APIListen, "api-listen", "127.0.0.1:3000", "where the control API listens; port 0 takes a free one")
	cmd.Flags().StringVar(&f.cfg.ProxyListen, "proxy-listen", "127.0.0.1:49983", "where layer 1 listens; port 0 takes a free one")
	cmd.Flags().StringSliceVar(&f.cfg.Keys, "api-key", nil, "API keys of the control API; none: any key is taken, on loopback only")
	cmd.Flags().StringVar(&f.cfg.Domain, "domain", "", "domain of Host {port}-{id}.{domain}; empty: any")
	cmd.Flags().IntVar(&s.PoolSize, "pool", 2, "idle slots kept ready")
	cmd.Flags().IntVar(&s.FirstSlot, "first-slot", 1, "lowest slot index to use")
	cmd.Flags().IntVar(&s.VCPUs, "vcpus", sandbox.DefaultVCPUs, "virtual CPUs of each sandbox")
	cmd.Flags().IntVar(&s.MemoryMiB, "memory", sandbox.DefaultMemoryMiB, "memory of each sandbox, in MiB")
	cmd.Flags().DurationVar(&s.BootTimeout, "boot-timeout", sandbox.DefaultBootTimeout, "how long a sandbox may take until envd answers")
	cmd.Flags().DurationVar(&s.WaitBooting, "wait-booting", sandbox.DefaultWaitBooting, "how long a request for a booting sandbox waits until it is a 502")
	cmd.Flags().StringVar(&f.path, "path", string(registry.Relay), "how layer 1 reaches the guests: "+paths)
	cmd.Flags().StringVar(&f.accel, "accel", string(qemu.Auto), "auto (KVM where it really works), kvm or tcg (emulation)")
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
