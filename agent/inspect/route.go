package inspect

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"tapwatch/agent/path"
	"tapwatch/internal/nlsafe"
)

// Way is a packet whose way is asked for.
type Way struct {
	To, From netip.Addr // From invalid: a packet of the namespace's own
	In       string     // the device that it comes in by; empty: of its own
	Wants    string     // the device that it should leave by; lo: delivered here
}

func (w Way) String() string {
	text := w.To.String()
	if w.From.IsValid() {
		text += " from " + w.From.String()
	}
	if w.In != "" {
		text += " iif " + w.In
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

// route asks where a packet would go. An error is that this is not known; that it
// would go nowhere is an answer.
func (a *asker) route(w Way) (path.Route, error) {
	r := path.Route{Asked: w.String(), Wants: w.Wants}
	body, err := a.routeRequest(w)
	if err != nil {
		return path.Route{}, err
	}
	answer, err := a.conn.Get(unix.RTM_GETROUTE, body)
	if errors.Is(err, unix.EINVAL) && w.In != "" && a.refuses(w) {
		err = unix.EXDEV
	}
	if errors.Is(err, unix.EINVAL) && w.In == "" { // from fib_props of net/ipv4/fib_semantics.c
		r.Failed = "invalid argument, as for a blackhole route"
		return r, nil
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
	}
	if w.In == "" && way.Source.IsValid() {
		r.Source = way.Source.String()
	}
	return r, nil
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
	back := Way{To: w.From}
	if w.Wants == "lo" { // else no source of the namespace's own
		back.From = w.To
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
	body := make([]byte, unix.SizeofRtMsg, 64)
	body[0], body[1] = unix.AF_INET, bits
	if w.From.IsValid() {
		body[2] = bits
	}
	body = nlsafe.AppendAttr(body, unix.RTA_DST, w.To.AsSlice())
	if w.From.IsValid() {
		body = nlsafe.AppendAttr(body, unix.RTA_SRC, w.From.AsSlice())
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
