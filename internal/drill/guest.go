package drill

import (
	"context"

	"tapwatch/agent/path"
	"tapwatch/internal/sandbox"
	"tapwatch/internal/sandbox/template"
	"tapwatch/internal/sandbox/vmm"
)

// What can be wrong with the guest's kernel and its network.
var guestFaults = []Fault{
	{
		Name: "guest-no-driver", What: "the guest's kernel has no driver for the NIC",
		Hop: path.Guest, Expected: "guest-no-driver", Variant: template.NoDriver,
	},
	{
		Name: "guest-wrong-address", What: "the guest gets the address 169.254.0.25",
		Hop: path.Guest, Expected: "guest-no-arp",
		Launch: func(_ *World, req *sandbox.CreateRequest) (func(), error) {
			req.Alter = func(s *vmm.Spec) error {
				s.Cmdline = "ip=169.254.0.25::169.254.0.26:255.255.255.252:instance:eth0:off:tap0"
				return nil
			}
			return nil, nil
		},
	},
	{
		Name: "gateway-mac", What: "the guest gets a permanent neighbour entry with another hardware address than its gateway's",
		Hop: path.Guest, Expected: "gateway-mac-mismatch",
		Make: func(ctx context.Context, b *Box) (func() error, error) {
			return nil, b.shell(ctx, `(sleep 0.2; busybox arp -s `+b.Slot.TapIP().String()+` 02:00:00:00:00:98) >/dev/null 2>&1 &`)
		},
	},
	{
		Name: "guest-hung", What: "the guest's kernel halts, its VMM goes on",
		Hop: path.Guest, Expected: "guest-hung",
		Make: func(ctx context.Context, b *Box) (func() error, error) {
			return nil, b.shell(ctx, `(sleep 0.2; busybox halt -f) >/dev/null 2>&1 &`)
		},
	},
	{
		Name: "guest-panic", What: "the guest's kernel panics (sysrq c)",
		Hop: path.Guest, Expected: "guest-panic",
		Make: func(ctx context.Context, b *Box) (func() error, error) {
			return nil, b.shell(ctx, `(sleep 0.2; echo 1 >/proc/sys/kernel/sysrq; echo c >/proc/sysrq-trigger) >/dev/null 2>&1 &`)
		},
	},
	{
		Name: "init-shebang", What: `the template's /sbin/init begins with #\!`,
		Hop: path.Guest, Expected: "init-shebang", Variant: template.InitShebang,
	},
	{
		Name: "init-not-executable", What: "the template's /sbin/init has no x bits",
		Hop: path.Guest, Expected: "init-not-executable", Variant: template.InitNotExecutable,
	},
}
