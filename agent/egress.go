package agent

import (
	"fmt"
	"net/netip"
	"sync"
	"time"

	"tapwatch/agent/filter"
	"tapwatch/agent/inspect"
	"tapwatch/agent/path"
	"tapwatch/agent/slots"
)

// hostRulesEvery is how old the host's rules may be: they are the same for all
// slots, may be thousands, and nobody waits for a guest's way out.
const hostRulesEvery = 10 * time.Second

// egress looks at guests' ways out of the host.
type egress struct {
	mu    sync.Mutex
	rules *filter.HostRules
	err   error
	read  time.Time
}

// of looks at the way out of one slot's guest; nil where the slot's namespace does not
// pass on what the guest begins.
func (e *egress) of(t slots.Target) (*path.Egress, error) {
	if !t.Addrs.Vpeer.IsValid() || !t.Addrs.Guest.IsValid() || !t.Addrs.Host.IsValid() || t.Veth.Host == "" {
		return nil, nil
	}
	plan := planOf(t)
	as, err := inspect.LeavesAs(t.Path, plan, t.Addrs.Host)
	if err != nil || !as.IsValid() {
		return nil, err
	}
	out, err := e.throughHost(plan, as)
	if err != nil {
		return nil, err
	}
	out.Forwards, err = inspect.Forwards(t.Path)
	return &out, err
}

func (e *egress) throughHost(p inspect.Plan, as netip.Addr) (path.Egress, error) {
	e.mu.Lock() // sets are read as rules look into them
	defer e.mu.Unlock()
	if time.Since(e.read) >= hostRulesEvery {
		e.rules, e.err = filter.ReadHostRules()
		e.read = time.Now()
	}
	if e.err != nil {
		return path.Egress{}, fmt.Errorf("rules of the host: %w", e.err)
	}
	return inspect.Egress(p, as, e.rules)
}
