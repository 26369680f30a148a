package filter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"tapwatch/internal/nlsafe"
)

// Rules is the packet filters of the namespace that they were read in. It is for one
// goroutine: sets are read as rules look into them.
type Rules struct {
	conn   *nftables.Conn
	chains []*chain
	sets   map[setKey]*set // those that were looked into
	tables []*legacy
	unread []string // filters that are there and are not read, in words
}

// chain is a chain of nftables. A base chain has a hook, where packets begin.
type chain struct {
	table    *nftables.Table
	name     string
	base     bool
	hook     nftables.ChainHook
	priority int32
	kind     nftables.ChainType
	drops    bool     // the policy of a base chain
	devices  []string // of a chain for some devices; the beginning of names ends in *
	rules    []rule
}

// rule is one of a chain: what it asks for and does, in order. Its handle is how nft
// names it.
type rule struct {
	handle uint64
	exprs  []expr.Any
}

// Read reads the rules of the thread's namespace: all of nftables, and iptables-legacy.
func Read() (*Rules, error) {
	r, err := readNFT()
	if err != nil {
		return nil, err
	}
	if err := r.ReadLegacy(); err != nil {
		return nil, err
	}
	if b, err := os.ReadFile("/proc/thread-self/net/arp_tables_names"); err == nil && len(b) > 0 {
		r.unread = append(r.unread, "tables of arptables-legacy")
	}
	return r, nil
}

// ReadLegacy reads those of iptables-legacy again, of which the kernel reports no change.
func (r *Rules) ReadLegacy() (err error) {
	if r.tables, err = readLegacy(); err != nil {
		return fmt.Errorf("iptables-legacy: %w", err)
	}
	return nil
}

// readNFT reads nftables. The library leaves out what it does not know of a rule, and
// the devices of chains, so that a rule would seem to be another: it is used for what
// single expressions and sets hold only.
func readNFT() (*Rules, error) {
	sets, err := nftables.New()
	if err != nil {
		return nil, err
	}
	c, err := nlsafe.DialNetfilter()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	r := &Rules{conn: sets, sets: map[setKey]*set{}}
	if err := r.readChains(c); err != nil || len(r.chains) == 0 {
		return r, err
	}
	return r, r.readRules(c)
}

// nft is the type of a request to nftables.
func nft(message uint16) uint16 { return unix.NFNL_SUBSYS_NFTABLES<<8 | message }

// genmsg is struct nfgenmsg of include/uapi/linux/netfilter/nfnetlink.h.
const genmsg = 4

// dump asks for all of a kind, in all families.
func dump(c *nlsafe.Conn, message uint16) ([]nlsafe.Message, error) {
	ms, err := c.Dump(nft(message), make([]byte, genmsg))
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL) { // the kernel has no nftables
		return nil, nil
	}
	return ms, err
}

// dormant lists the tables whose chains are not in use, as their owner wants.
func dormant(c *nlsafe.Conn) (map[nftables.Table]bool, error) {
	const isDormant = 1 // NFT_TABLE_F_DORMANT
	ms, err := dump(c, unix.NFT_MSG_GETTABLE)
	if err != nil {
		return nil, fmt.Errorf("list tables: %w", err)
	}
	sleeping := map[nftables.Table]bool{}
	for _, m := range ms {
		if len(m.Body) < genmsg {
			return nil, fmt.Errorf("read a table: %w", nlsafe.ErrMalformed)
		}
		t, is := nftables.Table{Family: nftables.TableFamily(m.Body[0])}, false
		err := nlsafe.EachAttr(m.Body[genmsg:], func(typ uint16, v []byte) error {
			switch {
			case typ == unix.NFTA_TABLE_NAME:
				t.Name = unix.ByteSliceToString(v)
			case typ == unix.NFTA_TABLE_FLAGS && len(v) == 4:
				is = binary.BigEndian.Uint32(v)&isDormant != 0
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("read a table: %w", err)
		}
		sleeping[t] = is
	}
	return sleeping, nil
}

func (r *Rules) readChains(c *nlsafe.Conn) error {
	sleeping, err := dormant(c)
	if err != nil || len(sleeping) == 0 {
		return err
	}
	ms, err := dump(c, unix.NFT_MSG_GETCHAIN)
	if err != nil {
		return fmt.Errorf("list chains: %w", err)
	}
	for _, m := range ms {
		ch, err := parseChain(m.Body)
		if err != nil {
			return fmt.Errorf("read a chain: %w", err)
		}
		ch.base = ch.base && !sleeping[*ch.table]
		r.chains = append(r.chains, ch)
	}
	return nil
}

func (r *Rules) readRules(c *nlsafe.Conn) error {
	ms, err := dump(c, unix.NFT_MSG_GETRULE)
	if err != nil {
		return fmt.Errorf("list rules: %w", err)
	}
	type key struct {
		family      nftables.TableFamily
		table, name string
	}
	chains := make(map[key]*chain, len(r.chains))
	for _, c := range r.chains {
		chains[key{c.table.Family, c.table.Name, c.name}] = c
	}
	for _, m := range ms {
		table, name, found, err := parseRule(m.Body)
		if err != nil {
			return fmt.Errorf("read a rule: %w", err)
		}
		if c := chains[key{table.Family, table.Name, name}]; c != nil { // else it was made meanwhile
			c.rules = append(c.rules, found)
		}
	}
	return nil
}

// parseChain reads NFT_MSG_NEWCHAIN.
func parseChain(body []byte) (*chain, error) {
	if len(body) < genmsg {
		return nil, nlsafe.ErrMalformed
	}
	c := &chain{table: &nftables.Table{Family: nftables.TableFamily(body[0])}}
	err := nlsafe.EachAttr(body[genmsg:], func(typ uint16, v []byte) error {
		switch typ {
		case unix.NFTA_CHAIN_TABLE:
			c.table.Name = unix.ByteSliceToString(v)
		case unix.NFTA_CHAIN_NAME:
			c.name = unix.ByteSliceToString(v)
		case unix.NFTA_CHAIN_TYPE:
			c.kind = nftables.ChainType(unix.ByteSliceToString(v))
		case unix.NFTA_CHAIN_POLICY:
			c.drops = len(v) == 4 && binary.BigEndian.Uint32(v) == uint32(nftables.ChainPolicyDrop)
		case unix.NFTA_CHAIN_HOOK:
			c.base = true
			return nlsafe.EachAttr(v, c.hooked)
		}
		return nil
	})
	return c, err
}

// hooked reads one attribute of NFTA_CHAIN_HOOK.
func (c *chain) hooked(typ uint16, v []byte) error {
	const devices, name, prefix = 4, 1, 2 // NFTA_HOOK_DEVS, NFTA_DEVICE_NAME, NFTA_DEVICE_PREFIX
	switch {
	case typ == unix.NFTA_HOOK_HOOKNUM && len(v) == 4:
		c.hook = nftables.ChainHook(binary.BigEndian.Uint32(v))
	case typ == unix.NFTA_HOOK_PRIORITY && len(v) == 4:
		c.priority = int32(binary.BigEndian.Uint32(v))
	case typ == unix.NFTA_HOOK_DEV:
		c.devices = append(c.devices, unix.ByteSliceToString(v))
	case typ == devices:
		c.devices = nil // the one of NFTA_HOOK_DEV is here too
		return nlsafe.EachAttr(v, func(typ uint16, v []byte) error {
			switch device := unix.ByteSliceToString(v); typ {
			case name:
				c.devices = append(c.devices, device)
			case prefix:
				c.devices = append(c.devices, device+"*")
			}
			return nil
		})
	}
	return nil
}

// parseRule reads NFT_MSG_NEWRULE.
func parseRule(body []byte) (table *nftables.Table, chain string, r rule, err error) {
	if len(body) < genmsg {
		return nil, "", r, nlsafe.ErrMalformed
	}
	table = &nftables.Table{Family: nftables.TableFamily(body[0])}
	err = nlsafe.EachAttr(body[genmsg:], func(typ uint16, v []byte) error {
		switch typ {
		case unix.NFTA_RULE_TABLE:
			table.Name = unix.ByteSliceToString(v)
		case unix.NFTA_RULE_CHAIN:
			chain = unix.ByteSliceToString(v)
		case unix.NFTA_RULE_HANDLE:
			if len(v) == 8 {
				r.handle = binary.BigEndian.Uint64(v)
			}
		case unix.NFTA_RULE_EXPRESSIONS:
			return nlsafe.EachAttr(v, func(_ uint16, v []byte) error {
				e, err := parseExpr(body[0], v)
				r.exprs = append(r.exprs, e)
				return err
			})
		}
		return nil
	})
	return table, chain, r, err
}

// strange is an expression that is not judged.
type strange struct {
	expr.Any
	name string
}

// parseExpr reads one expression of a rule: NFTA_EXPR_NAME, NFTA_EXPR_DATA.
func parseExpr(family byte, b []byte) (expr.Any, error) {
	var name string
	var data []byte
	err := nlsafe.EachAttr(b, func(typ uint16, v []byte) error {
		switch typ {
		case unix.NFTA_EXPR_NAME:
			name = unix.ByteSliceToString(v)
		case unix.NFTA_EXPR_DATA:
			data = v
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if name == "byteorder" {
		return parseByteorder(data)
	}
	of := kinds[name]
	if of == nil || name == "bitwise" && shifts(data) {
		return &strange{name: name}, nil
	}
	e := of()
	if !reads(family, data, e) { // of a kernel that knows more of it
		return &strange{name: name}, nil
	}
	if i, ok := e.(*expr.Immediate); ok && i.Register == unix.NFT_REG_VERDICT {
		v := &expr.Verdict{}
		return v, expr.Unmarshal(family, data, v)
	}
	return e, nil
}

func reads(family byte, data []byte, into expr.Any) bool {
	return expr.Unmarshal(family, data, into) == nil
}

// kinds makes an empty expression of each kind that is judged.
var kinds = map[string]func() expr.Any{
	"meta":      func() expr.Any { return &expr.Meta{} },
	"payload":   func() expr.Any { return &expr.Payload{} },
	"ct":        func() expr.Any { return &expr.Ct{} },
	"immediate": func() expr.Any { return &expr.Immediate{} },
	"bitwise":   func() expr.Any { return &expr.Bitwise{} },
	"cmp":       func() expr.Any { return &expr.Cmp{} },
	"range":     func() expr.Any { return &expr.Range{} },
	"lookup":    func() expr.Any { return &expr.Lookup{} },
	"limit":     func() expr.Any { return &expr.Limit{} },
	"connlimit": func() expr.Any { return &expr.Connlimit{} },
	"quota":     func() expr.Any { return &expr.Quota{} },
	"numgen":    func() expr.Any { return &expr.Numgen{} },
	"dynset":    func() expr.Any { return &expr.Dynset{} },
	"fib":       func() expr.Any { return &expr.Fib{} },
	"reject":    func() expr.Any { return &expr.Reject{} },
	"nat":       func() expr.Any { return &expr.NAT{} },
	"masq":      func() expr.Any { return &expr.Masq{} },
	"redir":     func() expr.Any { return &expr.Redir{} },
	"objref":    func() expr.Any { return &expr.Objref{} },
	"match":     func() expr.Any { return &expr.Match{} },
	"target":    func() expr.Any { return &expr.Target{} },
}

// shifts says whether a bitwise expression does more than mask and invert bits.
func shifts(data []byte) (is bool) {
	const op = 6 // NFTA_BITWISE_OP; 0 is NFT_BITWISE_MASK_XOR
	err := nlsafe.EachAttr(data, func(typ uint16, v []byte) error {
		is = is || typ == op && len(v) == 4 && binary.BigEndian.Uint32(v) != 0
		return nil
	})
	return is || err != nil
}

func parseByteorder(data []byte) (*expr.Byteorder, error) {
	e := &expr.Byteorder{}
	err := nlsafe.EachAttr(data, func(typ uint16, v []byte) error {
		if len(v) != 4 {
			return nil
		}
		n := binary.BigEndian.Uint32(v)
		switch typ {
		case unix.NFTA_BYTEORDER_SREG:
			e.SourceRegister = n
		case unix.NFTA_BYTEORDER_DREG:
			e.DestRegister = n
		case unix.NFTA_BYTEORDER_OP:
			e.Op = expr.ByteorderOp(n)
		case unix.NFTA_BYTEORDER_LEN:
			e.Len = n
		case unix.NFTA_BYTEORDER_SIZE:
			e.Size = n
		}
		return nil
	})
	return e, err
}

// ofIPv4 says whether the chain's hook sees IPv4 packets that are routed.
func (c *chain) ofIPv4() bool {
	return c.table.Family == nftables.TableFamilyIPv4 || c.table.Family == nftables.TableFamilyINet
}

// String is the chain as nft names it: the family ip goes without saying.
func (c *chain) String() string {
	family := map[nftables.TableFamily]string{nftables.TableFamilyINet: "inet ", nftables.TableFamilyARP: "arp ", nftables.TableFamilyBridge: "bridge ", nftables.TableFamilyNetdev: "netdev "}
	return "chain " + c.name + " of table " + family[c.table.Family] + c.table.Name
}

func (r *Rules) find(t *nftables.Table, name string) *chain {
	for _, c := range r.chains {
		if c.name == name && c.table.Name == t.Name && c.table.Family == t.Family {
			return c
		}
	}
	return nil
}
