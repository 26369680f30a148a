// Package filter reads the packet filters of a namespace, of nftables and of
// iptables, nft and legacy, and judges what they do with the packets of a path.
package filter

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"

	"tapwatch/agent/path"
	"tapwatch/internal/netns"
)

// Masquerade is how a rule translates that takes the address of the device.
const Masquerade = "masquerade"

// ReadRules judges packets by the rules of a namespace, and says whether one of those
// that come for an address of the namespace's own is passed on (DNAT): unknown too
// where there are none.
func ReadRules(ns string, packets, translated []Packet) (f path.Filters, is path.Tristate, err error) {
	err = netns.Do(ns, func() error {
		r, err := Read()
		if err != nil {
			return err
		}
		f = r.Judge(packets)
		for i := range translated {
			its, _ := r.Translates(&translated[i], *nftables.ChainHookPrerouting)
			switch {
			case is == path.Yes || its == path.Yes:
				is = path.Yes
			case i == 0 || its == path.Unknown:
				is = its
			}
		}
		return nil
	})
	if err != nil {
		return path.Filters{}, path.Unknown, fmt.Errorf("read the rules of %s: %w", ns, err)
	}
	return f, is, nil
}

// Judge says what the rules do with each of the packets.
func (r *Rules) Judge(packets []Packet) (f path.Filters) {
	f.Drops = []string{} // none, which is not the same as unknown
	f.NotJudged = slices.Clone(r.unread)
	packets = slices.Clone(packets)
	r.hide(packets)
	for i := range packets {
		p := &packets[i]
		for _, c := range r.chains {
			if !c.base || c.kind == nftables.ChainTypeNAT && (!p.Opens || p.Answer) {
				continue // what is known of a connection passes no chain of type nat
			}
			if v, ok := c.at(p); ok {
				r.walk(c, &v, 0).judge(&f, p, c.String(), c.drops)
			}
		}
		for _, t := range r.tables {
			t.judge(&f, p)
		}
	}
	for _, l := range []*[]string{&f.Drops, &f.Redirects, &f.Partly, &f.NotJudged} {
		*l = unique(*l)
	}
	return f
}

// hide marks the packets whose source the rules change on the way out. What it is then
// is not asked: the answers come back to it.
func (r *Rules) hide(packets []Packet) {
	type way struct {
		device string
		far    netip.AddrPort
	}
	hidden := map[way]bool{}
	for i := range packets {
		if p := &packets[i]; p.Opens && !p.Answer && p.Out != "" {
			is, _ := r.Translates(p, *nftables.ChainHookPostrouting)
			hidden[way{p.Out, p.To}] = is != path.No
		}
	}
	for i := range packets {
		p := &packets[i]
		its := way{p.Out, p.To}
		if p.Answer {
			its = way{p.In, p.From}
		}
		p.hidden = hidden[its]
	}
}

// unique keeps the first of what is said several times.
func unique(list []string) []string {
	kept := list[:0]
	for _, s := range list {
		if !slices.Contains(kept, s) {
			kept = append(kept, s)
		}
	}
	return kept
}

// Translates says whether a packet is given another address at a hook, and how:
// Masquerade, or nothing where the rule names the address.
func (r *Rules) Translates(p *Packet, hook nftables.ChainHook) (is path.Tristate, how string) {
	var fates []fate
	for _, c := range r.chains {
		if !c.base || c.hook != hook || c.kind != nftables.ChainTypeNAT {
			continue
		}
		if v, ok := c.at(p); ok {
			fates = append(fates, r.walk(c, &v, 0))
		}
	}
	for _, t := range r.tables {
		if t.name == "nat" {
			fates = append(fates, t.walk(p, hook))
		}
	}
	is = path.No
	for _, f := range fates {
		switch {
		case f.translates == yes || f.translates > no && f.accepts == no && f.drops == no && f.through == no:
			if f.to[0].masquerades {
				how = Masquerade
			}
			return path.Yes, how
		case f.translates > no || f.obscure:
			is = path.Unknown
		}
	}
	return is, ""
}

// fate is what becomes of a packet in a chain: how surely each of what may.
type fate struct {
	drops, accepts, translates answer
	through                    answer // to what follows: the policy, or the chain that led here
	obscure                    bool   // some rule may do anything
	by                         string // which rule drops it most surely
	notJudged                  []string
	to                         []translation
}

// translation is another address that a rule gives a packet.
type translation struct {
	source      bool // else its destination
	masquerades bool
	addr        netip.Addr // not valid: it stays, where known
	port        uint16     // 0: it stays
	known       bool       // what it says is all that there is to say
	own         bool       // to an address of the namespace's own
	is          answer
	by          string
}

// judge adds to what is known of a packet what a base chain does with it.
func (f fate) judge(to *path.Filters, p *Packet, chain string, policyDrops bool) {
	if end := f.through; end > no {
		if !policyDrops {
			f.accepts = max(f.accepts, end)
		} else if end > f.drops {
			f.drops, f.by = end, "by its policy"
		}
		if policyDrops && end == perhaps && f.accepts > no {
			f.notJudged = append(f.notJudged, "its policy, unless a rule before it accepts")
		}
	}
	drops := f.drops
	if drops > no && f.accepts == no && f.translates == no { // by whichever rule
		drops = yes
	}
	switch drops {
	case yes:
		to.Drops = append(to.Drops, fmt.Sprintf("%s drops %s, %s", chain, p.What, f.by))
	case sometimes:
		to.Partly = append(to.Partly, fmt.Sprintf("%s drops some of %s, %s", chain, p.What, f.by))
	case perhaps:
		for _, rule := range f.notJudged {
			to.NotJudged = append(to.NotJudged, fmt.Sprintf("%s, %s", chain, rule))
		}
	case no:
	}
	for _, t := range f.to {
		t.judge(to, p, chain)
	}
}

// judge adds where the packet is sent instead, unless that is where it is to go.
func (t translation) judge(to *path.Filters, p *Packet, chain string) {
	if t.source {
		return
	}
	aim := p.To
	dest := netip.AddrPortFrom(t.addr, t.port)
	if !t.addr.IsValid() {
		dest = netip.AddrPortFrom(aim.Addr(), t.port)
		if p.Public.IsValid() {
			dest = netip.AddrPortFrom(p.Public.Addr(), t.port)
		}
	}
	if t.port == 0 {
		dest = netip.AddrPortFrom(dest.Addr(), aim.Port())
	}
	where := dest.String()
	if t.own {
		where = fmt.Sprintf("port %d of its own", dest.Port())
	}
	switch {
	case !t.known || t.is == perhaps:
		to.NotJudged = append(to.NotJudged, chain+", "+t.by+", which may redirect it")
	case dest == aim, t.own && p.In != "" && p.Out == "" && dest.Port() == aim.Port():
	case t.is == sometimes:
		to.Partly = append(to.Partly, fmt.Sprintf("%s redirects some of %s to %s, %s", chain, p.What, where, t.by))
	default:
		to.Redirects = append(to.Redirects, fmt.Sprintf("%s redirects %s to %s, %s", chain, p.What, where, t.by))
	}
}

// course follows a packet through the rules of one chain.
type course struct {
	fate
	passing answer // how surely it comes to the next rule
	// unspared is how surely no rule before has let it go: what comes there or was
	// dropped already is dropped by a rule that drops it.
	unspared answer
	why      string // of the rule that made this less than known
}

func newCourse() course { return course{passing: yes, unspared: yes} }

// verdict is what a rule does with a packet that it takes.
type verdict struct {
	kind  kind
	chain string // of a jump
	to    translation
}

type kind int

const (
	goesOn kind = iota
	accepts
	drops
	returns
	jumps
	goesTo
	translates
	anything // what is not known
)

// rule takes the next rule: how surely it takes the packet, why that is not known, and
// what it does with it. Into follows a jump.
func (c *course) rule(takes answer, why, by string, v verdict, into func() fate) {
	is := min(c.passing, takes)
	if is == no || v.kind == goesOn {
		return
	}
	switch v.kind {
	case accepts:
		c.accepts = max(c.accepts, is)
	case drops:
		c.drop(takes, takes, why, by)
		c.passing = min(c.passing, takes.not())
		return
	case returns:
		c.through = max(c.through, is)
	case translates:
		c.translates = max(c.translates, is)
		v.to.is, v.to.by = is, by
		c.to = append(c.to, v.to)
	case anything:
		takes = perhaps
		c.obscure = true
		c.drop(takes, takes, why, by)
		c.accepts = max(c.accepts, takes)
	case jumps, goesTo:
		c.jump(takes, why, by, v.kind == goesTo, into())
		return
	}
	c.less(takes.not(), takes.not(), why)
}

// jump takes what another chain does with the packet. From one that it goes to it does
// not come back.
func (c *course) jump(takes answer, why, by string, goes bool, sub fate) {
	is := min(c.passing, takes)
	if sub.drops > no {
		c.drop(min(takes, sub.drops), takes, why, sub.by+", from rule"+after(by))
	}
	c.accepts = max(c.accepts, min(is, sub.accepts))
	c.obscure = c.obscure || sub.obscure
	if c.drops == perhaps {
		c.notJudged = append(c.notJudged, sub.notJudged...)
	}
	for _, t := range sub.to {
		t.is = min(is, t.is)
		c.translates = max(c.translates, t.is)
		c.to = append(c.to, t)
	}
	back := sub.through
	if goes {
		c.through = max(c.through, min(is, back))
		back = no
	}
	spared := max(sub.accepts, sub.translates)
	if goes {
		spared = max(spared, sub.through)
	}
	c.less(max(takes.not(), min(takes, back)), max(takes.not(), min(takes, spared.not())), why)
}

// after is the number in "by rule 3".
func after(by string) string { return by[len("by rule"):] }

// less makes it less sure that the next rule is come to, and that none let it go.
func (c *course) less(passing, unspared answer, why string) {
	if unspared == perhaps && c.unspared > perhaps {
		c.why = why
	}
	c.passing, c.unspared = min(c.passing, passing), min(c.unspared, unspared)
}

func (c *course) drop(sure, takes answer, why, by string) {
	sure = min(sure, c.unspared)
	if sure > c.drops {
		c.drops, c.by = sure, by
	}
	switch {
	case sure != perhaps:
	case takes == perhaps:
		c.notJudged = append(c.notJudged, by[len("by "):]+": "+why)
	case c.why != "":
		c.notJudged = append(c.notJudged, by[len("by "):]+", unless one before it accepts ("+c.why+")")
	}
}

// ends is the fate at the end of the rules.
func (c *course) ends() fate {
	c.through = max(c.through, c.passing)
	return c.fate
}

// maxJumps is the kernel's bound too.
const maxJumps = 16

// walk follows a packet through a chain and those that it leads to.
func (r *Rules) walk(c *chain, v *view, depth int) fate {
	follow := newCourse()
	for n, rule := range c.rules {
		if follow.passing == no {
			break
		}
		m := r.match(c, rule.exprs, v)
		if m.takes == no {
			continue
		}
		by := fmt.Sprintf("by rule %d (handle %d)", n+1, rule.handle)
		if depth > 0 {
			by += " of chain " + c.name
		}
		to := m.verdict
		if to.kind == jumps || to.kind == goesTo {
			next := r.find(c.table, to.chain)
			if next == nil || depth >= maxJumps {
				to.kind = anything
			}
			follow.rule(m.takes, m.why, by, to, func() fate { return r.walk(next, v, depth+1) })
			continue
		}
		follow.rule(m.takes, m.why, by, to, nil)
	}
	return follow.ends()
}
