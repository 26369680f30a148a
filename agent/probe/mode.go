package probe

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/features"
	"golang.org/x/sys/unix"

	"tapwatch/bpf"
	"tapwatch/internal/caps"
)

// Mode is a way for the programs to see a device's frames. What they count is
// the same in all.
type Mode string

// The modes. Figures are of one device, both directions, on Linux 6.18.
const (
	// ModeAuto is tc; where clsact cannot stand on a device, or would be decided
	// before, tcx for that device, or tracepoint; without CAP_SYS_ADMIN it is
	// tracepoint for all.
	ModeAuto Mode = "auto"
	// ModeTC is clsact filters: 0.1 ms to attach, nothing waits meanwhile, and
	// they count on while no agent runs.
	ModeTC Mode = "tc"
	// ModeTCX runs before all clsact filters and stands beside any qdisc, but
	// takes an RCU grace period under RTNL: some 20 ms. Linux 6.6.
	ModeTCX Mode = "tcx"
	// ModeTracepoint attaches nothing to devices and enters no namespace, so that
	// it needs no CAP_SYS_ADMIN. It costs every frame of the host some
	// nanoseconds, and counting ends with the agent.
	ModeTracepoint Mode = "tracepoint"
)

// Modes is every mode, for help and checks.
var Modes = []Mode{ModeAuto, ModeTC, ModeTCX, ModeTracepoint}

// realModes are those that a device can be attached in.
var realModes = []Mode{ModeTC, ModeTCX, ModeTracepoint}

// ErrUnknownMode is returned for a Config.Mode that there is not.
var ErrUnknownMode = errors.New("unknown attach mode")

func (m Mode) validate() error {
	if !slices.Contains(Modes, m) {
		return fmt.Errorf("%w %q: must be one of %v", ErrUnknownMode, m, Modes)
	}
	return nil
}

// hook is what counts in a mode, as the programs know it.
func (m Mode) hook() bpf.TapHook {
	if m == ModeTracepoint {
		return bpf.TapHookHOOK_TRACEPOINT
	}
	return bpf.TapHookHOOK_DEVICE
}

// probeModes notes which modes there are here and returns why not for the others.
func (p *Probe) probeModes() map[Mode]error {
	lack := map[Mode]error{
		ModeTC:         errors.Join(features.HaveProgramType(ebpf.SchedCLS), enterNamespaces()),
		ModeTCX:        errors.Join(haveTCX(), enterNamespaces()),
		ModeTracepoint: haveTracepoints("netif_receive_skb", "net_dev_queue"),
	}
	for _, m := range realModes {
		p.note(string(m), lack[m])
	}
	return lack
}

// chooseMode settles how devices are attached: as asked for, or the best there is.
func (p *Probe) chooseMode(want Mode, lack map[Mode]error) error {
	if want != ModeAuto {
		p.mode = want
		if lack[want] != nil {
			return fmt.Errorf("attach mode %s: %w", want, lack[want])
		}
		return nil
	}
	var have []Mode
	for _, m := range realModes {
		if lack[m] == nil {
			have = append(have, m)
		}
	}
	switch {
	case len(have) == 0:
		return fmt.Errorf("no attach mode works here: tc: %w; tracepoint: %w", lack[ModeTC], lack[ModeTracepoint])
	case have[0] == ModeTC:
		p.mode, p.fallbacks = ModeTC, have[1:]
	default: // tcx for all would hold up every other change of a link
		p.mode = have[len(have)-1]
	}
	return nil
}

// lackingPrograms are those that the kernel would not load.
func lackingPrograms(lack map[Mode]error) []string {
	var names []string
	for _, dir := range directions {
		if lack[ModeTC] != nil && lack[ModeTCX] != nil {
			names = append(names, dir.name)
		}
		if lack[ModeTracepoint] != nil {
			names = append(names, dir.global)
		}
	}
	return names
}

// enterNamespaces says what is missing for setns.
func enterNamespaces() error {
	own, err := caps.Own()
	if err != nil {
		return err
	}
	if !own.Has(unix.CAP_SYS_ADMIN) {
		return errors.New("entering namespaces needs CAP_SYS_ADMIN")
	}
	return nil
}

// haveTCX asks the kernel's BTF, since trying would need a device to try on.
func haveTCX() error {
	var types *btf.Enum
	if err := kernelType("bpf_attach_type", &types); err != nil {
		return err
	}
	for _, v := range types.Values {
		if v.Name == "BPF_TCX_INGRESS" {
			return nil
		}
	}
	return fmt.Errorf("%w: needs Linux 6.6", ebpf.ErrNotSupported)
}

// haveTracepoints says whether tp_btf programs can see these tracepoints.
func haveTracepoints(names ...string) error {
	for _, name := range names {
		if _, err := tracepointParams(name); err != nil {
			return err
		}
	}
	return nil
}

// tracepointParams returns the arguments of a tracepoint, which differ from
// kernel to kernel. The first one of the type is the tracepoint's own data.
func tracepointParams(name string) ([]btf.FuncParam, error) {
	var def *btf.Typedef
	if err := kernelType("btf_trace_"+name, &def); err != nil {
		return nil, fmt.Errorf("tracepoint %s: %w", name, err)
	}
	ptr, ok := def.Type.(*btf.Pointer)
	if !ok {
		return nil, fmt.Errorf("tracepoint %s: its type is no pointer but %v", name, def.Type)
	}
	proto, ok := ptr.Target.(*btf.FuncProto)
	if !ok || len(proto.Params) == 0 {
		return nil, fmt.Errorf("tracepoint %s: its type is no function but %v", name, ptr.Target)
	}
	return proto.Params[1:], nil
}

func kernelType(name string, to any) error {
	types, giveBack := bpf.Types()
	defer giveBack()
	kernel, err := types.Kernel()
	if err != nil {
		return fmt.Errorf("read kernel types: %w", err)
	}
	if err := kernel.TypeByName(name, to); err != nil {
		return fmt.Errorf("%w: %w", ebpf.ErrNotSupported, err)
	}
	return nil
}
