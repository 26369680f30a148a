package inspect

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"tapwatch/agent/path"
	"tapwatch/internal/nlsafe"
)

// Way is a packet whose way is asked for. Rules of routing may look at its ports: one
// with a port is a TCP segment, one without is of no protocol.
type Way struct {
	To, From netip.AddrPort // From invalid: the kernel chooses the source
	In       string         // the device that it comes in by; empty: of the namespace's own
	Wants    string         // the device that it should leave by; lo: delivered here
}

// clientPort stands for the port of whoever connects: one of those that Linux gives by
// default.
const clientPort = 45000

// String is the way in the words of ip route get.
func (w Way) String() string {
	text := w.To.Addr().String()
	if w.From.IsValid() {
		text += " from " + w.From.Addr().String()
	}
	if w.In != "" {
		text += " iif " + w.In
	}
	if w.To.Port() != 0 {
		text += fmt.Sprintf(" ipproto tcp sport %d dport %d", w.From.Port(), w.To.Port())
	}
	return text
}

// asker asks the namespace of the thread that made it.
type asker struct {
	conn *nlsafe.Conn
	fd   int // a socket for ioctls
}

func newAsker() (*asker, error) {
	conn, err := nlsafe.Dial()
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open socket: %w", err), conn.Close())
	}
	return &asker{conn, fd}, nil
}

func (a *asker) close() {
	unix.Close(a.fd)
	_ = a.conn.Close()
}

// index returns a link's number by its name.
func (a *asker) index(name string) (uint32, error) {
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return 0, err
	}
	if err := unix.IoctlIfreq(a.fd, unix.SIOCGIFINDEX, ifr); err != nil {
		return 0, err
	}
	return ifr.Uint32(), nil
}

// name returns a link's name by its number.
func (a *asker) name(index uint32) string {
	ifr, err := unix.NewIfreq("")
	if err == nil {
		ifr.SetUint32(index)
		err = unix.IoctlIfreq(a.fd, unix.SIOCGIFNAME, ifr)
	}
	if err != nil {
		return fmt.Sprintf("link %d", index)
	}
	return ifr.Name()
}

// noRoute is what the kernel answers where there is no way.
var noRoute = []error{unix.ENETUNREACH, unix.EHOSTUNREACH, unix.EXDEV, unix.EACCES}

// connect asks where a connection's packets would go, as connect(2) does: the kernel
// first chooses their source, and then asks for the way again with that source. Rules
// may look at it.
func (a *asker) connect(to netip.AddrPort, wants string) (path.Route, error) {
	r, err := a.route(Way{To: to, From: netip.AddrPortFrom(netip.Addr{}, clientPort), Wants: wants})
	if err != nil || r.Wrong() || r.Source == "" {
		return r, err
	}
	source, err := netip.ParseAddr(r.Source)
	if err != nil {
		return r, err
	}
	return a.route(Way{To: to, From: netip.AddrPortFrom(source, clientPort), Wants: wants})
}

// route asks where a packet would go. An error is that this is not known; that it
// would go nowhere is an answer.
func (a *asker) route(w Way) (path.Route, error) {
	r := path.Route{Asked: w.String(), Wants: w.Wants}
	body, err := a.routeRequest(w)
	if err != nil {
		return path.Route{}, err
	}
	answer, err := a.conn.Get(unix.RTM_GETROUTE, body)
	if errors.Is(err, unix.EINVAL) {
		if w.In != "" && a.refuses(w) {
			err = unix.EXDEV
		} else {
			r.Failed = a.whyInvalid(w)
			return r, nil
		}
	}
	for _, e := range noRoute {
		if errors.Is(err, e) {
			r.Failed, r.SourceRefused = e.Error(), errors.Is(err, unix.EXDEV)
			return r, nil
		}
	}
	if err != nil {
		return path.Route{}, fmt.Errorf("ask for the route to %s: %w", w, err)
	}
	way, err := nlsafe.ParseRoute(answer)
	if err != nil {
		return path.Route{}, err
	}
	r.Device = a.name(way.Device)
	if way.Local {
		r.Device = "lo"
		if w.Wants != "lo" {
			r.LocalOn = a.ownerOf(w.To.Addr())
		}
	}
	switch {
	case w.In != "":
	case w.From.Addr().IsValid():
		r.Source = w.From.Addr().String()
	case way.Source.IsValid():
		r.Source = way.Source.String()
	}
	return r, nil
}

// whyInvalid says what the kernel means by EINVAL: from ip_route_output_key_hash_rcu
// and fib_validate_source, it is the source where that is local and should not be, or
// the other way about; else fib_props, and the action of a rule, of a blackhole.
func (a *asker) whyInvalid(w Way) string {
	if from := w.From.Addr(); from.IsValid() {
		owner := a.ownerOf(from)
		switch {
		case w.In == "" && owner == "":
			return "invalid argument: no device here has the source " + from.String()
		case w.In != "" && owner != "":
			return "invalid argument: " + owner + " here has the source " + from.String() + " itself"
		}
	}
	return "invalid argument, as for a blackhole"
}

// ownerOf returns the device of the namespace that has an address; empty: none has, or
// that could not be read.
func (a *asker) ownerOf(addr netip.Addr) string {
	ms, err := a.conn.Dump(unix.RTM_GETADDR, append([]byte{unix.AF_INET}, make([]byte, unix.SizeofIfAddrmsg-1)...))
	if err != nil {
		return ""
	}
	for _, m := range ms {
		if len(m.Body) < unix.SizeofIfAddrmsg {
			continue
		}
		index := binary.NativeEndian.Uint32(m.Body[4:])
		if p, err := nlsafe.ParseAddress(m.Body, index); err == nil && p.Addr() == addr {
			return a.name(index)
		}
	}
	return ""
}

// refuses says whether the device's rp_filter refuses a packet for its source.
// Before Linux 6.13 the kernel says so by EXDEV, since then it has EINVAL for this
// and for more: so its rule is applied to what it answers of the way back.
func (a *asker) refuses(w Way) bool {
	all, err := number("/proc/sys/net/ipv4/conf/all/rp_filter")
	if err != nil {
		return false
	}
	its, err := number("/proc/sys/net/ipv4/conf/" + w.In + "/rp_filter")
	if err != nil {
		return false
	}
	back := Way{To: netip.AddrPortFrom(w.From.Addr(), 0)}
	if w.Wants == "lo" { // else no source of the namespace's own
		back.From = netip.AddrPortFrom(w.To.Addr(), 0)
	}
	r, err := a.route(back)
	switch max(all, its) {
	case 1: // strict
		return err == nil && r.Device != w.In
	case 2: // loose
		return err == nil && r.Device == ""
	}
	return false
}

func (a *asker) routeRequest(w Way) ([]byte, error) {
	const bits = 32
	to, from := w.To.Addr(), w.From.Addr()
	body := make([]byte, unix.SizeofRtMsg, 96)
	body[0], body[1] = unix.AF_INET, bits
	if from.IsValid() {
		body[2] = bits
	}
	body = nlsafe.AppendAttr(body, unix.RTA_DST, to.AsSlice())
	if from.IsValid() {
		body = nlsafe.AppendAttr(body, unix.RTA_SRC, from.AsSlice())
	}
	if w.To.Port() != 0 {
		body = nlsafe.AppendAttr(body, unix.RTA_IP_PROTO, []byte{unix.IPPROTO_TCP})
		body = nlsafe.AppendAttr(body, unix.RTA_SPORT, binary.BigEndian.AppendUint16(nil, w.From.Port()))
		body = nlsafe.AppendAttr(body, unix.RTA_DPORT, binary.BigEndian.AppendUint16(nil, w.To.Port()))
	}
	if w.In != "" {
		i, err := a.index(w.In)
		if err != nil {
			return nil, fmt.Errorf("find %s: %w", w.In, err)
		}
		body = nlsafe.AppendUint32(body, unix.RTA_IIF, i)
	}
	return body, nil
}

// addresses returns a link's IPv4 addresses with their prefixes.
func (a *asker) addresses(link string) ([]string, error) {
	i, err := a.index(link)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", link, err)
	}
	found, err := a.conn.Addresses(i)
	if err != nil {
		return nil, fmt.Errorf("read addresses of %s: %w", link, err)
	}
	list := make([]string, 0, len(found)) // none is known to be none
	for _, p := range found {
		list = append(list, p.String())
	}
	return list, nil
}
