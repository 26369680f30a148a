package filter

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"tapwatch/agent/path"
	"tapwatch/internal/netns"
)

// Packet is a TCP segment that a path needs, at one hook of its namespace.
type Packet struct {
	What        string // for people, e.g. "from the proxy to the relay"
	Hook        nftables.ChainHook
	In, Out     string // interfaces; empty: none at this hook
	From, To    netip.AddrPort
	Established bool // an answer, of a connection that is known
}

// Rules is what a namespace's packet filters do with the packets of a path. Rules of
// nftables and of iptables, nft and legacy, are read; a rule that asks for more than
// is known of a packet is passed over.
type Rules struct {
	Drops []string // the rules that surely drop one of the packets, in words
	// Translates says whether one gives the translated packets another destination;
	// unknown too where none was asked for.
	Translates path.Tristate
}

// ReadRules judges packets by the rules of a namespace, and says which of those that
// come for an address of the namespace's own are passed on (DNAT).
func ReadRules(ns string, packets, translated []Packet) (r Rules, err error) {
	err = netns.Do(ns, func() error {
		h, err := ReadHostRules()
		if err != nil {
			return err
		}
		r.Drops, r.Translates = h.Drops(packets), h.translatesAny(translated)
		return nil
	})
	if err != nil {
		return Rules{}, fmt.Errorf("read the rules of %s: %w", ns, err)
	}
	return r, nil
}

// translatesAny says whether any of the packets gets another destination; unknown where
// there are none.
func (h *HostRules) translatesAny(packets []Packet) path.Tristate {
	if len(packets) == 0 {
		return path.Unknown
	}
	is := path.No
	for i := range packets {
		switch its, _ := h.Translates(&packets[i]); its {
		case path.Yes:
			return path.Yes
		case path.Unknown:
			is = path.Unknown
		}
	}
	return is
}

// ruleset is the chains of all tables that see IPv4.
type ruleset struct {
	conn   *nftables.Conn
	chains []*nftables.Chain
	rules  map[*nftables.Chain][]*nftables.Rule
	sets   map[string]*set // by table and name, those that were looked into
}

// listChains begins a ruleset: no rule of its chains is read yet.
func listChains(c *nftables.Conn) (*ruleset, error) {
	chains, err := c.ListChains()
	if err != nil {
		return nil, err
	}
	s := &ruleset{conn: c, rules: map[*nftables.Chain][]*nftables.Rule{}, sets: map[string]*set{}}
	for _, chain := range chains {
		if f := chain.Table.Family; f == nftables.TableFamilyIPv4 || f == nftables.TableFamilyINet {
			s.chains = append(s.chains, chain)
		}
	}
	return s, nil
}

func readRules(c *nftables.Conn) (*ruleset, error) {
	s, err := listChains(c)
	if err != nil {
		return nil, err
	}
	for _, chain := range s.chains {
		if s.rules[chain], err = c.GetRules(chain.Table, chain); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *ruleset) drops(packets []Packet) (drops []string) {
	drops = []string{} // none, which is not the same as unknown
	for _, chain := range s.chains {
		if chain.Hooknum == nil || chain.Type == nftables.ChainTypeNAT {
			continue
		}
		for i := range packets {
			p := &packets[i]
			if *chain.Hooknum != p.Hook {
				continue
			}
			at := s.walk(chain, p, 0)
			if at.verdict == none && chain.Policy != nil && *chain.Policy == nftables.ChainPolicyDrop {
				at = result{dropped, "by its policy"}
			}
			if at.verdict == dropped {
				drops = append(drops, fmt.Sprintf("chain %s of table %s drops %s, %s", chain.Name, chain.Table.Name, p.What, at.how))
			}
		}
	}
	return slices.Compact(drops)
}

// verdict is what becomes of a packet; unclear where a rule that is not
// understood might have decided.
type verdict int

const (
	none verdict = iota
	accepted
	dropped
	translated
	unclear
)

type result struct {
	verdict verdict
	how     string
}

// maxJumps is the kernel's bound too.
const maxJumps = 16

func (s *ruleset) walk(chain *nftables.Chain, p *Packet, depth int) result {
	for n, r := range s.rules[chain] {
		switch m, v := match(r.Exprs, p, func(name string) *set { return s.readSet(chain.Table, name) }); {
		case m == no || v == nil:
		case m == perhaps:
			// What an unclear rule would accept might be spared what follows.
			if v.Kind != expr.VerdictContinue {
				return result{unclear, ""}
			}
		case v.Kind == expr.VerdictDrop:
			return result{dropped, fmt.Sprintf("by rule %d", n+1)}
		case v.Kind == verdictNAT:
			return result{translated, ""}
		case v.Kind == verdictMasquerade:
			return result{translated, Masquerade}
		case v.Kind == expr.VerdictAccept:
			return result{accepted, ""}
		case v.Kind == expr.VerdictReturn:
			return result{}
		case v.Kind == expr.VerdictJump || v.Kind == expr.VerdictGoto:
			to := s.find(chain.Table, v.Chain)
			if to == nil || depth >= maxJumps {
				return result{unclear, ""}
			}
			if at := s.walk(to, p, depth+1); at.verdict != none {
				if at.verdict == dropped {
					at.how += " of chain " + to.Name
				}
				return at
			}
			if v.Kind == expr.VerdictGoto {
				return result{}
			}
		}
	}
	return result{}
}

func (s *ruleset) find(t *nftables.Table, name string) *nftables.Chain {
	for _, c := range s.chains {
		if c.Name == name && c.Table.Name == t.Name && c.Table.Family == t.Family {
			return c
		}
	}
	return nil
}
