package relay

import (
	"context"
	"net"
	"net/netip"

	"tapwatch/internal/netns"
)

// listenIn makes a listener inside a namespace, where it stays.
func listenIn(ns string, addr netip.AddrPort) (*net.TCPListener, error) {
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	var l net.Listener
	err := netns.Do(ns, func() (err error) {
		l, err = lc.Listen(context.Background(), "tcp4", addr.String())
		return err
	})
	if err != nil {
		return nil, err
	}
	return l.(*net.TCPListener), nil
}

// dialIn connects from inside a namespace.
func dialIn(ctx context.Context, ns string, to netip.AddrPort) (*net.TCPConn, error) {
	var c net.Conn
	err := netns.Do(ns, func() (err error) {
		c, err = (&net.Dialer{}).DialContext(ctx, "tcp4", to.String())
		return err
	})
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

// abort closes by a reset.
func abort(c *net.TCPConn) {
	_ = c.SetLinger(0)
	_ = c.Close()
}
