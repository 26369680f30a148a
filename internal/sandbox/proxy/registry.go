package proxy

import (
	"context"
	"fmt"
	"net/netip"

	"tapwatch/internal/registry"
)

// FromRegistry resolves by the records of whatever launcher runs on the host,
// for a proxy that stands alone. Where sandboxes have relays it reaches the ports
// that those listen on, else any.
func FromRegistry(dir registry.Dir) Resolver {
	return func(_ context.Context, id string, port int) (Target, error) {
		slots, err := dir.List() // a damaged record hides no other
		var found *registry.Slot
		for i, s := range slots {
			if s.Sandbox == nil || id != "" && s.Sandbox.ID != id {
				continue
			}
			if found != nil {
				return Target{}, ErrAmbiguous
			}
			found = &slots[i]
		}
		if found == nil {
			if err != nil {
				return Target{}, err
			}
			return Target{}, ErrUnknownSandbox
		}
		return targetOf(*found, port)
	}
}

// targetOf reads from a record how its sandbox is reached.
func targetOf(s registry.Slot, port int) (Target, error) {
	t := Target{SandboxID: s.Sandbox.ID}
	addr := s.VpeerIP
	switch s.Sandbox.Shape {
	case "fused":
		t.Netns, t.Direct, addr = s.Netns, true, s.GuestIP
	case "dnat":
		t.Direct, addr = true, s.HostIP
	}
	ip, err := netip.ParseAddr(addr)
	if err != nil {
		return Target{}, fmt.Errorf("record of slot %d: %w", s.Index, err)
	}
	t.Addr = netip.AddrPortFrom(ip, uint16(port))
	return t, nil
}
