package sandbox

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"tapwatch/internal/netns"
	"tapwatch/internal/sandbox/envd/guest"
	"tapwatch/internal/sandbox/network"
)

// openPath prepares the way to the guest, as far as the sandbox's shape has one
// to prepare.
func (m *Manager) openPath(i *instance) error {
	switch i.path {
	case network.ShapeDNAT:
		return network.EnableDNAT(i.slot)
	case network.ShapeFused: // layer 1 goes in itself
		return nil
	case network.ShapeRelay:
		_, err := m.listen(i, guest.Port)
		return err
	}
	return fmt.Errorf("path %q: nobody knows how to open it", i.path)
}

// addr is where a port of the guest is reached: in the host's namespace, but for
// a fused path, where it is the guest's own address inside the sandbox's.
func (i *instance) addr(port int) netip.AddrPort {
	switch i.path {
	case network.ShapeFused:
		return netip.AddrPortFrom(i.slot.GuestIP(), uint16(port))
	case network.ShapeDNAT:
		return netip.AddrPortFrom(i.slot.HostIP(), uint16(port))
	default:
		return netip.AddrPortFrom(i.slot.VpeerIP(), uint16(port))
	}
}

// dial connects to envd, as an http.Transport wants it.
func (i *instance) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	to := i.addr(guest.Port)
	if i.path == network.ShapeFused {
		c, err := netns.DialTCP(ctx, i.slot.Netns(), to)
		if err != nil {
			return nil, &net.OpError{Op: "dial", Net: "tcp4", Err: err} // as a Dialer's
		}
		return c, nil
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp4", to.String())
}
