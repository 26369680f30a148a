package inspect

import (
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/google/nftables"

	"tapwatch/agent/filter"
	"tapwatch/agent/path"
	"tapwatch/internal/netns"
)

// httpsPort is what a guest that gets out gets to.
const httpsPort = 443

// LeavesAs says what source the namespace's rules give the packets of its guest:
// as, where they give it one of their own, the slot's address in the host, and the
// vpeer's where they masquerade. The zero address: none, also where they drop what
// the guest sends outside, or that is not known.
func LeavesAs(ns string, p Plan, as netip.Addr) (netip.Addr, error) {
	out := filter.Packet{What: "what the guest sends outside", In: p.Tap, Out: p.Vpeer, Opens: true,
		From: netip.AddrPortFrom(p.Guest, 0), To: netip.AddrPortFrom(outside, httpsPort)}
	var how string
	is := path.Unknown
	err := netns.Do(ns, func() error {
		r, err := filter.Read()
		if err == nil && len(r.Judge([]filter.Packet{out}).Drops) > 0 {
			is = path.No // on purpose: it is not to get out
		} else if err == nil {
			is, how = r.Translates(&out, *nftables.ChainHookPostrouting)
		}
		return err
	})
	switch {
	case err != nil:
		return netip.Addr{}, fmt.Errorf("read the rules of %s: %w", ns, err)
	case is != path.Yes:
		return netip.Addr{}, nil
	case how == filter.Masquerade:
		return p.VpeerAddr, nil
	}
	return as, nil
}

// Egress asks how the host treats what a guest begins, which comes by the slot's
// veth with that source.
func Egress(p Plan, as netip.Addr, rules *filter.Rules) (e path.Egress, err error) {
	e.As = as.String()
	b, err := os.ReadFile("/proc/sys/net/ipv4/ip_forward")
	if err != nil {
		return e, fmt.Errorf("read ip_forward of the host: %w", err)
	}
	e.HostForwards = path.Known(strings.TrimSpace(string(b)) != "0")
	a, err := newAsker()
	if err != nil {
		return e, err
	}
	defer a.close()
	e.Route, err = a.route(Way{To: netip.AddrPortFrom(outside, 0)}) // the host's own: rp_filter and forwarding are told apart
	if err != nil || e.Route.Device == "" {
		return e, err
	}
	device := e.Route.Device
	from, to := netip.AddrPortFrom(as, 0), netip.AddrPortFrom(outside, httpsPort)
	packets := filter.Exchange{Asks: "what the guest sends outside", Answers: "what comes back to the guest", In: p.HostVeth, Out: device, From: from, To: to}.Packets()
	if found := rules.Judge(packets); len(found.Redirects) == 0 { // else it goes another way, through a proxy say
		e.Drops = found.Drops
	}
	e.Translated, _ = rules.Translates(&packets[0], *nftables.ChainHookPostrouting)
	return e, nil
}
