package proxy

import (
	"tapwatch/internal/sandbox/conns"
	"tapwatch/internal/sandbox/stream"
)

// Counts returns what was counted of every sandbox that was asked for, by id, and
// the sum of those that have gone.
func (p *Proxy) Counts() (bySandbox map[string]stream.Stats, gone stream.Stats) {
	b := p.backends
	b.mu.Lock()
	defer b.mu.Unlock()
	bySandbox = make(map[string]stream.Stats, len(b.byID))
	for id, to := range b.byID {
		bySandbox[id] = to.counts()
	}
	gone.Add(b.gone)
	return bySandbox, gone
}

// counts sums over the ports of a sandbox; backends.mu is held.
func (b *backend) counts() stream.Stats {
	var sum stream.Stats
	sum.Add(b.former)
	for _, t := range b.targets {
		sum.Add(t.Stats())
	}
	return sum
}

// Stats returns what is known of one sandbox, or with "" of every one that was
// asked for and has not gone, with the connections that are open.
func (p *Proxy) Stats(sandboxID string) []conns.Stats {
	type known struct {
		counts   stream.Stats
		requests int64
	}
	b := p.backends
	all, at := make(map[string]known), make(map[place]string)
	b.mu.Lock()
	for id, to := range b.byID {
		if sandboxID != "" && id != sandboxID {
			continue
		}
		for place := range to.targets {
			at[place] = id
		}
		all[id] = known{to.counts(), to.open.Load()}
	}
	b.mu.Unlock()
	open := make(map[string][]stream.Connection)
	for _, c := range p.engine.Connections(nil) {
		if id, ok := at[place{c.Netns, c.To}]; ok {
			open[id] = append(open[id], c)
		}
	}
	stats := make([]conns.Stats, 0, len(all))
	for id, k := range all {
		s := conns.Of(conns.Proxy, id, k.counts, open[id])
		s.Requests = &k.requests
		stats = append(stats, s)
	}
	conns.Sort(stats)
	return stats
}
