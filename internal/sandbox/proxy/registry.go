package proxy

import (
	"context"
	"fmt"
	"net/netip"

	"tapwatch/internal/registry"
)

// FromRegistry resolves by the records of whatever launcher runs on the host,
// for a proxy that stands alone. It reaches the ports that a relay listens on.
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
		ip, err := netip.ParseAddr(found.VpeerIP)
		if err != nil {
			return Target{}, fmt.Errorf("record of slot %d: %w", found.Index, err)
		}
		return Target{SandboxID: found.Sandbox.ID, Addr: netip.AddrPortFrom(ip, uint16(port))}, nil
	}
}
