package drill

import (
	"context"
	"net/http"
	"net/netip"
	"time"

	"tapwatch/internal/e2b"
	"tapwatch/internal/sandbox/envd"
)

const (
	// askEvery is the pause between two requests of a client.
	askEvery = 200 * time.Millisecond
	// askTime bounds one request.
	askTime = 5 * time.Second
)

// client talks to the sandbox through the proxy, as the E2B SDK does.
func (b *Box) client() *envd.Client {
	return &envd.Client{BaseURL: "http://" + b.Proxy.Addr().String(), Header: http.Header{e2b.HeaderSandboxID: {b.ID}}, HTTP: fresh}
}

// clientOf does so with another port of the sandbox.
func (b *Box) clientOf(port string) *envd.Client {
	c := b.client()
	c.Header.Set(e2b.HeaderSandboxPort, port)
	return c
}

// direct talks to the relay, as the proxy does where it has no idle connection.
func (b *Box) direct() *envd.Client {
	addr := netip.AddrPortFrom(b.Slot.VpeerIP(), e2b.EnvdPort)
	return &envd.Client{BaseURL: "http://" + addr.String(), HTTP: fresh}
}

// fresh has a connection for each request, like many clients with one each.
var fresh = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// traffic asks the sandbox for its health until the context ends: what the agent
// makes of a path rests on the requests that take it.
func (b *Box) traffic(ctx context.Context) {
	go ask(ctx, b.direct(), askTime, func(request) {})
	ask(ctx, b.client(), askTime, b.got.note)
}

func ask(ctx context.Context, c *envd.Client, patience time.Duration, note func(request)) {
	for ctx.Err() == nil {
		began := time.Now()
		one, cancel := context.WithTimeout(ctx, patience)
		err := c.Health(one)
		cancel()
		if ctx.Err() == nil {
			note(request{began, time.Now(), err == nil})
		}
		select {
		case <-ctx.Done():
		case <-time.After(askEvery):
		}
	}
}
