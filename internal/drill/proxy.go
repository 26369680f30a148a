package drill

import (
	"context"
	"net"
	"strconv"
	"syscall"

	"tapwatch/agent/path"
	"tapwatch/internal/e2b"
)

// What can be wrong with the proxy.
var proxyFaults = []Fault{
	{
		Name: "proxy-dead", What: "the proxy is gone",
		Hop: path.Proxy, Expected: "proxy-not-listening",
		Make: func(_ context.Context, b *Box) (func() error, error) {
			return b.Proxy.Restart, b.Proxy.Close()
		},
	},
	{
		Name: "proxy-wrong-address", What: "the proxy listens on 127.0.0.2 instead",
		Hop: path.Proxy, Expected: "proxy-wrong-address",
		Make: func(ctx context.Context, b *Box) (func() error, error) {
			if err := b.Proxy.Close(); err != nil {
				return nil, err
			}
			_, port, err := net.SplitHostPort(b.Proxy.Addr().String())
			if err != nil {
				return nil, err
			}
			var lc net.ListenConfig
			ln, err := lc.Listen(ctx, "tcp", net.JoinHostPort("127.0.0.2", port))
			if err != nil {
				return nil, err
			}
			return func() error { return joinNotNil(ln.Close(), b.Proxy.Restart()) }, nil
		},
	},
	{
		Name: "proxy-stopped", What: "the proxy is a process of its own, and gets SIGSTOP",
		Hop: path.Proxy, Expected: "proxy-not-accepting",
		Make: func(ctx context.Context, b *Box) (func() error, error) {
			return b.otherProxy(ctx, func(p *program) (func(), error) { return func() {}, p.signal(syscall.SIGSTOP) })
		},
	},
	{
		Name: "proxy-no-files", What: "the proxy is a process of its own, and may open no more files than it has",
		Hop: path.Proxy, Expected: "proxy-fd-limit",
		Make: func(ctx context.Context, b *Box) (func() error, error) {
			return b.otherProxy(ctx, func(p *program) (func(), error) { return p.starve(ctx, b.Proxy.Addr().String()) })
		},
	},
}

// otherProxy puts `tapwatch proxy` in the proxy's place, and breaks it.
func (b *Box) otherProxy(ctx context.Context, harm func(*program) (heal func(), err error)) (undo func() error, err error) {
	if err := b.Proxy.Close(); err != nil {
		return nil, err
	}
	addr := b.Proxy.Addr().String()
	return broken(b.Proxy.Restart, harm, func() (*program, error) {
		return layerProgram(ctx, addr, "proxy", "--listen", addr, "--run-dir", b.RunDir)
	})
}

// otherRelay puts `tapwatch relay` in the place of the sandbox's relay, and breaks it.
func (b *Box) otherRelay(ctx context.Context, harm func(*program) (heal func(), err error)) (undo func() error, err error) {
	restart, err := b.Manager.StopRelay(b.ID)
	if err != nil {
		return nil, err
	}
	return broken(restart, harm, func() (*program, error) {
		return layerProgram(ctx, b.door(), "relay", "--netns", b.Slot.Netns(), "--listen", b.door(), "--run-dir", b.RunDir,
			"--to", net.JoinHostPort(b.Slot.GuestIP().String(), strconv.Itoa(e2b.EnvdPort)))
	})
}

// broken starts a program and harms it. restart brings back what it stands for.
func broken(restart func() error, harm func(*program) (func(), error), start func() (*program, error)) (undo func() error, err error) {
	p, err := start()
	if err != nil {
		return nil, joinNotNil(err, restart())
	}
	heal, err := harm(p)
	if err != nil {
		p.end()
		return nil, joinNotNil(err, restart())
	}
	return func() error { heal(); p.end(); return restart() }, nil
}
