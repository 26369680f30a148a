package filter

import (
	"errors"
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
	c, err := nftables.New(nftables.AsLasting()) // one socket for all questions
	if err != nil {
		return nil, fmt.Errorf("read DNAT rules: %w", err)
	}
	list, err := nftDNATs(c)
	if err := errors.Join(err, c.CloseLasting()); err != nil {
		return nil, fmt.Errorf("read DNAT rules: %w", err)
	}
	tables, err := readLegacy()
	if err != nil {
		return nil, fmt.Errorf("read DNAT rules of iptables-legacy: %w", err)
	}
	for _, t := range tables {
		list = append(list, t.dnats()...)
	}
	return list, nil
}

// prerouting is NF_INET_PRE_ROUTING of include/uapi/linux/netfilter.h.
const prerouting = 0

// maxDNATs bounds what is read: beyond it the namespace is not a sandbox's.
const maxDNATs = 1024

func nftDNATs(c *nftables.Conn) (list []DNAT, err error) {
	s, err := listChains(c)
	if err != nil {
		return nil, err
	}
	for _, chain := range s.chains {
		if chain.Hooknum == nil || *chain.Hooknum != *nftables.ChainHookPrerouting || chain.Type != nftables.ChainTypeNAT {
			continue
		}
		if list, err = s.dnats(list, chain, DNAT{Ports: AllPorts}, 0); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// dnats adds those of a chain and of the chains that it leads to; narrowed
// holds what the rules on the way there ask for.
func (s *ruleset) dnats(list []DNAT, chain *nftables.Chain, narrowed DNAT, depth int) ([]DNAT, error) {
	rules, ok := s.rules[chain]
	if !ok {
		var err error
		if rules, err = s.conn.GetRules(chain.Table, chain); err != nil {
			return nil, err
		}
		s.rules[chain] = rules
	}
	for _, r := range rules {
		if len(list) >= maxDNATs {
			break
		}
		found, leads := dnatsOf(r.Exprs, narrowed, func(name string) *set { return s.readSet(chain.Table, name) })
		list = append(list, found...)
		if leads == nil || depth >= maxJumps {
			continue
		}
		to := s.find(chain.Table, leads.chain)
		if to == nil {
			continue
		}
		var err error
		if list, err = s.dnats(list, to, leads.narrowed, depth+1); err != nil {
			return nil, err
		}
	}
	return list, nil
}
