// Package filter reads the packet filters of a namespace, of nftables and of
// iptables, nft and legacy, and judges what they do with the packets of a path.
package filter

import (
	"fmt"

	"github.com/google/nftables"

	"tapwatch/agent/path"
)

// Masquerade is how a rule translates that takes the address of the device.
const Masquerade = "masquerade"

// HostRules is the packet filters of the namespace that they were read in.
type HostRules struct {
	set    *ruleset
	tables []*legacy
}

// ReadHostRules reads those of the thread's namespace.
func ReadHostRules() (*HostRules, error) {
	c, err := nftables.New()
	if err != nil {
		return nil, err
	}
	set, err := readRules(c)
	if err != nil {
		return nil, err
	}
	tables, err := readLegacy()
	if err != nil {
		return nil, fmt.Errorf("iptables-legacy: %w", err)
	}
	return &HostRules{set, tables}, nil
}

// Drops is the rules that surely drop one of the packets, in words; empty, and not
// nil, where none does.
func (h *HostRules) Drops(packets []Packet) []string {
	drops := h.set.drops(packets)
	for _, t := range h.tables {
		drops = append(drops, t.drops(packets)...)
	}
	return drops
}

// Translates says whether a packet is given another address, and how: Masquerade, or
// nothing where the rule names the address.
func (h *HostRules) Translates(p *Packet) (is path.Tristate, how string) {
	var results []result
	for _, chain := range h.set.chains {
		if chain.Hooknum != nil && *chain.Hooknum == p.Hook && chain.Type == nftables.ChainTypeNAT {
			results = append(results, h.set.walk(chain, p, 0))
		}
	}
	for _, t := range h.tables {
		if t.name == "nat" {
			results = append(results, t.walk(p))
		}
	}
	is = path.No
	for _, r := range results {
		switch r.verdict {
		case translated:
			return path.Yes, r.how
		case unclear:
			is = path.Unknown
		}
	}
	return is, ""
}
