package inspect

import (
	"errors"
	"net/netip"

	"golang.org/x/sys/unix"

	"tapwatch/agent/path"
	"tapwatch/internal/netns"
)

// Plan is what a slot's path needs of its namespace. What is not known is zero,
// and is not asked for.
type Plan struct {
	Tap, Vpeer string // devices
	HostVeth   string
	Guest      netip.Addr
	VpeerAddr  netip.Addr
	// Host is the address by which the proxy reaches the guest of a path that forwards;
	// not valid: the vpeer's.
	Host   netip.Addr
	Client netip.Addr // the host's end of the veth pair
	Port   uint16     // of the daemon in the guest, and of the relay
	// Forwards is set where the namespace's kernel passes on what comes for it, to
	// the guest (DNAT); Fused where nothing comes by the veth pair.
	Forwards, Fused bool
	// Calm leaves out what is dear to read and explains failing requests alone.
	Calm bool
}

// Close is what Inside finds.
type Close struct {
	Inside    path.Inside
	Tun       *path.Tun
	Neighbour *path.Neighbour
}

// outside is an address that is nobody's (RFC 5737): its way is the default one.
var outside = netip.AddrFrom4([4]byte{192, 0, 2, 1})

// Inside looks into a namespace, and at the host's way to it. It asks the kernel
// and changes nothing; what it could not learn stands in Unread.
func Inside(ns string, p Plan) (c Close) {
	u := unread{&c.Inside.Unread}
	var err error
	c.Inside.TCPMemory, err = tcpMemory()
	u.note("memory of TCP", err)
	if p.HostVeth != "" && p.VpeerAddr.IsValid() && !p.Fused {
		u.note("routes of the host", u.toNamespace(&c, &p))
	}
	err = netns.Do(ns, func() error {
		a, err := newAsker()
		if err != nil {
			return err
		}
		defer a.close()
		tap := p.Tap
		u.ports(a, &c, &p)
		u.routes(a, &c, p)
		u.tap(a, &c, tap, p)
		c.Inside.Conntrack, err = conntrack()
		u.note("connection tracking", err)
		c.Inside.Overflows, err = listenOverflows()
		u.note("overflows of accept queues", err)
		if !p.Forwards && p.Guest.IsValid() {
			c.Inside.Ports, err = portsTo(netip.AddrPortFrom(p.Guest, p.Port), p.Calm)
			u.note("ports in use", err)
		}
		return nil
	})
	u.note("namespace", err)
	return c
}

// unread notes what could not be read, and why.
type unread struct{ list *[]path.Unread }

func (u unread) note(what string, err error) {
	if err != nil {
		*u.list = append(*u.list, path.Unread{What: what, Because: err.Error()})
	}
}

// toNamespace asks in the host's namespace.
func (u unread) toNamespace(c *Close, p *Plan) error {
	a, err := newAsker()
	if err != nil {
		return err
	}
	defer a.close()
	to := p.VpeerAddr
	if p.Forwards && p.Host.IsValid() {
		to = p.Host
	}
	dialed := netip.AddrPortFrom(to, p.Port)
	in := &c.Inside
	veth, err := a.port(p.HostVeth)
	if errors.Is(err, unix.ENODEV) { // it has gone: another says so
		return nil
	}
	if err != nil {
		return err
	}
	l3 := veth.l3
	u.note("qdiscs of the host", a.qdiscs(p.HostVeth, veth.qdisc, true, &in.Qdiscs))
	if in.ToNamespace, err = a.connect(dialed, l3); err != nil || in.ToNamespace.Wrong() {
		return err
	}
	if l3 == p.HostVeth { // else the bridge passes on what others ask
		in.Vpeer, err = a.neighbour(l3, p.VpeerAddr)
		u.note("the neighbours of "+l3, err)
	}
	if source, err := netip.ParseAddr(in.ToNamespace.Source); err == nil {
		p.Client = source // a route may name another source than the veth's
	}
	if !p.Client.IsValid() {
		return nil
	}
	in.FromNamespace, err = a.route(Way{To: netip.AddrPortFrom(p.Client, clientPort), From: dialed, In: l3, Wants: "lo"})
	return err
}

// ports looks at the places of the namespace's devices, and puts bridges in the place of
// those that are their ports: the bridge has the addresses, and the routes lead to it.
func (u unread) ports(a *asker, c *Close, p *Plan) {
	for _, device := range []*string{&p.Tap, &p.Vpeer} {
		if *device == "" {
			continue
		}
		is, err := a.port(*device)
		if err == nil {
			err = a.qdiscs(*device, is.qdisc, false, &c.Inside.Qdiscs)
		}
		if errors.Is(err, unix.ENODEV) {
			continue
		}
		if err != nil {
			u.note("the bridge and the qdiscs of "+*device, err)
			continue
		}
		l3 := is.l3
		if device == &p.Tap {
			c.Inside.OtherHost = is.otherHost
		}
		if l3 != *device && device == &p.Tap {
			c.Inside.Bridge = l3
		}
		if l3 != *device && device == &p.Vpeer { // its hardware address is the bridge's
			c.Inside.Vpeer = nil
		}
		*device = l3
	}
}

// way is one answer of the kernel, where the devices that it was asked of are there.
func (u unread) way(what string, to *path.Route) func(path.Route, error) {
	return func(r path.Route, err error) {
		if errors.Is(err, unix.ENODEV) {
			return
		}
		u.note(what, err)
		*to = r
	}
}

// routes asks for the ways through the namespace. What comes in is asked for only
// where its answer would find its way: else its source is refused for that.
func (u unread) routes(a *asker, c *Close, p Plan) {
	in := &c.Inside
	guest := netip.AddrPortFrom(p.Guest, p.Port)
	if p.Guest.IsValid() {
		u.way("the route to the guest", &in.ToGuest)(a.connect(guest, p.Tap))
	}
	if in.ToGuest.Asked != "" && !in.ToGuest.Wrong() && in.ToGuest.Source != "" && !p.Forwards {
		if source, err := netip.ParseAddr(in.ToGuest.Source); err == nil {
			u.way("the route from the guest", &in.FromGuest)(a.route(Way{To: netip.AddrPortFrom(source, clientPort), From: guest, In: p.Tap, Wants: "lo"}))
		}
	}
	if !p.Client.IsValid() {
		return
	}
	r, err := a.route(Way{To: netip.AddrPortFrom(outside, 0)})
	u.note("the default route", err)
	if err == nil {
		in.NoDefault = path.Known(r.Device == "")
	}
	if !p.Fused {
		u.toProxy(a, c, p)
	}
}

// toProxy asks for the ways between the guest, or the relay, and the proxy.
func (u unread) toProxy(a *asker, c *Close, p Plan) {
	in := &c.Inside
	client, relay, guest := netip.AddrPortFrom(p.Client, clientPort), netip.AddrPortFrom(p.VpeerAddr, p.Port), netip.AddrPortFrom(p.Guest, p.Port)
	back := Way{To: netip.AddrPortFrom(p.Client, 0), Wants: p.Vpeer}
	if !p.Forwards && p.VpeerAddr.IsValid() && a.ownerOf(p.VpeerAddr) != "" { // else nothing answers from there
		back.To, back.From = client, relay
	}
	u.way("the route to the proxy", &in.ToClient)(a.route(back))
	if in.ToClient.Asked == "" || in.ToClient.Wrong() {
		return
	}
	if in.Vpeer != nil { // else there is a bridge at one end
		n, err := a.neighbour(p.Vpeer, p.Client)
		if !errors.Is(err, unix.ENODEV) {
			u.note("the neighbours of "+p.Vpeer, err)
		}
		in.Client = n
	}
	switch {
	case !p.Forwards:
		u.way("the route from the proxy", &in.FromClient)(a.route(Way{To: relay, From: client, In: p.Vpeer, Wants: "lo"}))
	case p.Guest.IsValid() && !in.ToGuest.Wrong():
		u.way("the route from the proxy", &in.FromClient)(a.route(Way{To: guest, From: client, In: p.Vpeer, Wants: p.Tap}))
		u.way("the route from the guest", &in.FromGuest)(a.route(Way{To: client, From: guest, In: p.Tap, Wants: p.Vpeer}))
	}
}

func (u unread) tap(a *asker, c *Close, tap string, p Plan) {
	ask := func(what string, err error) {
		if !errors.Is(err, unix.ENODEV) {
			u.note(what, err)
		}
	}
	var err error
	c.Inside.TapAddrs, err = a.addresses(p.Tap)
	ask("the addresses of the tap", err)
	c.Tun, err = a.tun(tap)
	ask("the tap", err)
	if p.Guest.IsValid() {
		c.Neighbour, err = a.neighbour(p.Tap, p.Guest)
		ask("the neighbours of the tap", err)
	}
}
