package sandbox

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"tapwatch/internal/e2b"
	"tapwatch/internal/netns"
	"tapwatch/internal/registry"
	"tapwatch/internal/sandbox/network"
)

// openPath prepares the way to the guest, as far as the sandbox's shape has one
// to prepare.
func (m *Manager) openPath(i *instance) error {
	switch i.path {
	case registry.DNAT:
		return network.EnableDNAT(i.slot, i.internet)
	case registry.Fused: // the proxy goes in itself
		return nil
	case registry.Relay:
		_, err := m.listen(i, e2b.EnvdPort)
		return err
	}
	return fmt.Errorf("path %q: nobody knows how to open it", i.path)
}

// addr is where a port of the guest is reached: in the host's namespace, but for
// a fused path, where it is the guest's own address inside the sandbox's.
func (i *instance) addr(port int) netip.AddrPort {
	switch i.path {
	case registry.Fused:
		return netip.AddrPortFrom(i.slot.GuestIP(), uint16(port))
	case registry.DNAT:
		return netip.AddrPortFrom(i.slot.HostIP(), uint16(port))
	default:
		return netip.AddrPortFrom(i.slot.VpeerIP(), uint16(port))
	}
}

// dial connects to envd, as an http.Transport wants it.
func (i *instance) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	to := i.addr(e2b.EnvdPort)
	if i.path == registry.Fused {
		c, err := netns.DialTCP(ctx, i.slot.Netns(), to)
		if err != nil {
			return nil, &net.OpError{Op: "dial", Net: "tcp4", Err: err} // as a Dialer's
		}
		return c, nil
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp4", to.String())
}
