package agent

import (
	"fmt"
	"net/netip"
	"reflect"
	"sync"
	"time"

	"tapwatch/agent/filter"
	"tapwatch/agent/inspect"
	"tapwatch/agent/path"
	"tapwatch/agent/slots"
)

const (
	// hostRulesEvery is how old the host's rules may be where no notice said that they
	// have changed: they are the same for all slots, and may be thousands.
	hostRulesEvery = 10 * time.Second
	// legacyEvery is the same of iptables-legacy, which tells nobody and is read faster.
	legacyEvery = 2 * time.Second
)

// hostRules judges by the packet filters of the host's own namespace.
type hostRules struct {
	changed *asker // the kernel reported a change

	mu    sync.Mutex // sets are read as rules look into them
	rules *filter.Rules
	err   error
	read  time.Time
	again time.Time               // when those of iptables-legacy were read last
	said  map[uint64]path.Filters // what was judged last, by stay
}

func newHostRules() *hostRules {
	return &hostRules{changed: newAsker(noticeDelay, 19, hostRulesRest), said: map[uint64]path.Filters{}}
}

// hostRulesRest bounds the rest between two readings of rules that change all the time.
const hostRulesRest = 30 * time.Second

// current returns the rules, read anew where they are old. Its caller holds the lock.
func (h *hostRules) current() (*filter.Rules, error) {
	switch now := time.Now(); {
	case now.Sub(h.read) >= hostRulesEvery:
		h.rules, h.err = filter.Read()
		h.read, h.again = now, now
	case h.err == nil && now.Sub(h.again) >= legacyEvery:
		h.err = h.rules.ReadLegacy()
		h.again = now
	}
	if h.err != nil {
		return nil, fmt.Errorf("rules of the host: %w", h.err)
	}
	return h.rules, nil
}

// judge says what the host's rules do with a slot's packets.
func (h *hostRules) judge(t slots.Target, packets []filter.Packet) (path.Filters, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	rules, err := h.current()
	if err != nil {
		return path.Filters{}, err
	}
	found := rules.Judge(packets)
	h.said[t.Stay] = found
	return found, nil
}

// affected reads the rules again and returns the slots of which they now say something
// else. It forgets those that are not among them.
func (h *hostRules) affected(all []slots.Target, packets func(slots.Target) []filter.Packet) (keys []slots.Key, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.read = time.Time{}
	rules, err := h.current()
	if err != nil {
		return nil, err
	}
	said := make(map[uint64]path.Filters, len(all))
	for _, t := range all {
		p := packets(t)
		before, ok := h.said[t.Stay]
		if len(p) == 0 || !ok { // it is looked at anyway
			continue
		}
		said[t.Stay] = before
		if !reflect.DeepEqual(before, rules.Judge(p)) {
			keys = append(keys, t.Key)
		}
	}
	h.said = said
	return keys, nil
}

// hostChanged has the slots looked at that a change of the host's rules concerns.
func (i *inspector) hostChanged() {
	keys, err := i.host.affected(i.slots.Bound(nil), i.hostPackets)
	if err != nil {
		i.log.Warn("the rules of the host could not be read", "err", err)
		return
	}
	i.asked.ask(keys...)
}

// egress looks at the way out of one slot's guest; nil where the slot's namespace does
// not pass on what the guest begins.
func (h *hostRules) egress(t slots.Target) (*path.Egress, error) {
	if !t.Addrs.Vpeer.IsValid() || !t.Addrs.Guest.IsValid() || !t.Addrs.Host.IsValid() || t.Veth.Host == "" {
		return nil, nil
	}
	plan := planOf(t)
	as, err := inspect.LeavesAs(t.Path, plan, t.Addrs.Host)
	if err != nil || !as.IsValid() {
		return nil, err
	}
	out, err := h.throughHost(plan, as)
	if err != nil {
		return nil, err
	}
	out.Forwards, err = inspect.Forwards(t.Path)
	return &out, err
}

func (h *hostRules) throughHost(p inspect.Plan, as netip.Addr) (path.Egress, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	rules, err := h.current()
	if err != nil {
		return path.Egress{}, err
	}
	return inspect.Egress(p, as, rules)
}
