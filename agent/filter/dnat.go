package filter

import (
	"fmt"
	"net/netip"

	"github.com/google/nftables"
)

// DNAT is one rule that gives packets which come in another destination. It is what
// the rule says: whether a rule before it takes the packets is not judged.
type DNAT struct {
	In    string       // the device that they come in by; empty: any, or a kind of them
	Of    netip.Prefix // their destination; not valid: any, or the rule says it in a way that is not read
	Ports [2]uint16    // the first and last destination port, or AllPorts
	To    netip.Addr   // the new destination
	Port  uint16       // the new port; 0: it stays
}

// AllPorts is the range of a rule that asks for no port.
var AllPorts = [2]uint16{0, 0xffff}

// DNATs reads those of the thread's namespace: of nftables and iptables-nft, by rule
// or by map, and of iptables-legacy. Only chains that packets from outside pass
// (prerouting) are read.
func DNATs() ([]DNAT, error) {
	r, err := Read()
	if err != nil {
		return nil, fmt.Errorf("read DNAT rules: %w", err)
	}
	var list []DNAT
	for _, c := range r.chains {
		if c.base && c.hook == prerouting && c.kind == nftables.ChainTypeNAT && c.ofIPv4() {
			list = r.dnats(list, c, DNAT{Ports: AllPorts}, 0)
		}
	}
	for _, t := range r.tables {
		list = append(list, t.dnats()...)
	}
	return list, nil
}

// prerouting is NF_INET_PRE_ROUTING of include/uapi/linux/netfilter.h.
const prerouting = 0

// maxDNATs bounds what is read: beyond it the namespace is not a sandbox's.
const maxDNATs = 1024

// dnats adds those of a chain and of the chains that it leads to; narrowed
// holds what the rules on the way there ask for.
func (r *Rules) dnats(list []DNAT, c *chain, narrowed DNAT, depth int) []DNAT {
	for _, rule := range c.rules {
		if len(list) >= maxDNATs {
			break
		}
		found, leads := dnatsOf(rule.exprs, narrowed, func(name string) *set { return r.readSet(c.table, name) })
		list = append(list, found...)
		if leads == nil || depth >= maxJumps {
			continue
		}
		if to := r.find(c.table, leads.chain); to != nil {
			list = r.dnats(list, to, leads.narrowed, depth+1)
		}
	}
	return list
}
