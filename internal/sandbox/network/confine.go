package network

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"tapwatch/internal/e2b"
)

// A guest is a stranger: what it sends is refused unless a rule here lets it through.
// In the slot a chain at the tap's ingress drops frames with another sender than the
// guest, and two chains behind it let only answers reach the namespace and, where the
// sandbox has Internet access, only public addresses be reached through it. The host
// has a second line, which holds for all slots of this process: see guardHost.
//
// No rule asks for a connection's state, but for dnat paths, whose translation has the
// kernel track connections anyway.
const (
	confineTable = "tapwatch-guest"
	senderChain  = "sender"
	inputChain   = "input"
	forwardChain = "forward"
	privateSet   = "private"
)

// private is what no guest reaches: private networks (the host's, the other slots'),
// the cloud's metadata service, and what is no host's address on the Internet. From
// IANA's IPv4 Special-Purpose Address Registry.
var private = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("10.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("224.0.0.0/3"), // multicast, reserved, broadcast
}

// confine sets the rules of a new slot, whose guest reaches nothing.
func confine(s Slot) error {
	c, err := nftables.New() // its socket belongs to the namespace
	if err != nil {
		return fmt.Errorf("confine the guest: %w", err)
	}
	if err := addSenderRules(c, s); err != nil {
		return err
	}
	table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: confineTable})
	input := c.AddChain(filterChain(table, inputChain, nftables.ChainHookInput))
	add := func(parts ...[]expr.Any) {
		c.AddRule(&nftables.Rule{Table: table, Chain: input, Exprs: slices.Concat(parts...)})
	}
	own := slices.Concat(ofIPv4(), address(destination, expr.CmpOpEq, s.TapIP()))
	add(device(expr.CmpOpNeq, s.Tap()), verdict(expr.VerdictAccept))
	add(own, answersOfTCP(), verdict(expr.VerdictAccept))
	add(own, protocol(unix.IPPROTO_ICMP), verdict(expr.VerdictAccept))
	add(protocol(unix.IPPROTO_ICMPV6), verdict(expr.VerdictAccept)) // neighbour discovery; nothing listens there
	for _, rule := range refusals() {
		add(rule)
	}
	forward := c.AddChain(filterChain(table, forwardChain, nftables.ChainHookForward))
	for _, rule := range forwardRules(s, false, false, nil) {
		c.AddRule(&nftables.Rule{Table: table, Chain: forward, Exprs: rule})
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("confine the guest by nftables (does the kernel have nf_tables with inet and netdev?): %w", err)
	}
	return nil
}

// addSenderRules drops what does not come from the guest's own addresses.
func addSenderRules(c *nftables.Conn, s Slot) error {
	mac, err := net.ParseMAC(s.GuestMAC())
	if err != nil {
		return fmt.Errorf("parse MAC of the guest: %w", err)
	}
	table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyNetdev, Name: confineTable})
	chain := c.AddChain(&nftables.Chain{Name: senderChain, Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookIngress, Priority: nftables.ChainPriorityFilter, Device: s.Tap()})
	guest := s.GuestIP().AsSlice()
	const arpSender, etherSender = 14, 6 // offsets of addresses in their headers
	for _, match := range [][]expr.Any{
		{load(expr.PayloadBaseLLHeader, etherSender, 6), different(mac)},
		{&expr.Meta{Key: expr.MetaKeyPROTOCOL, Register: 1}, equal(binaryutil.BigEndian.PutUint16(unix.ETH_P_ARP)), load(expr.PayloadBaseNetworkHeader, arpSender, 4), different(guest)},
		{&expr.Meta{Key: expr.MetaKeyPROTOCOL, Register: 1}, equal(binaryutil.BigEndian.PutUint16(unix.ETH_P_IP)), load(expr.PayloadBaseNetworkHeader, source, 4), different(guest)},
	} {
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: append(match, verdict(expr.VerdictDrop)...)})
	}
	return nil
}

// forwardRules are for what a guest sends through its namespace. Internet needs the set
// of private addresses.
func forwardRules(s Slot, translated, internet bool, private *nftables.Set) [][]expr.Any {
	rules := [][]expr.Any{slices.Concat(device(expr.CmpOpNeq, s.Tap()), verdict(expr.VerdictAccept))}
	if translated { // answers to whoever has reached the guest by its host address
		rules = append(rules, slices.Concat(known(), verdict(expr.VerdictAccept)))
	}
	if translated && internet {
		rules = append(rules, slices.Concat(outBy(e2b.Vpeer), ofIPv4(), in(private, true), verdict(expr.VerdictAccept)))
	}
	return append(rules, refusals()...)
}

// refusals tell who tries: a program would wait for minutes otherwise.
func refusals() [][]expr.Any {
	const adminProhibited = 3 // NFT_REJECT_ICMPX_ADMIN_PROHIBITED
	return [][]expr.Any{
		append(protocol(unix.IPPROTO_TCP), &expr.Reject{Type: unix.NFT_REJECT_TCP_RST}),
		{&expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: adminProhibited}},
	}
}

// letOut replaces the rules for what a guest sends through its namespace by those of
// a dnat path.
func letOut(c *nftables.Conn, s Slot, internet bool) error {
	table := &nftables.Table{Family: nftables.TableFamilyINet, Name: confineTable}
	forward := filterChain(table, forwardChain, nftables.ChainHookForward)
	var set *nftables.Set
	if internet {
		var err error
		if set, err = addPrivate(c, table); err != nil {
			return err
		}
	}
	c.FlushChain(forward)
	for _, rule := range forwardRules(s, true, internet, set) {
		c.AddRule(&nftables.Rule{Table: table, Chain: forward, Exprs: rule})
	}
	return nil
}

func addPrivate(c *nftables.Conn, table *nftables.Table) (*nftables.Set, error) {
	set := &nftables.Set{Table: table, Name: privateSet, KeyType: nftables.TypeIPAddr, Interval: true}
	elements := []nftables.SetElement{}
	for _, p := range private {
		elements = append(elements, nftables.SetElement{Key: p.Addr().AsSlice()})
		if end := after(p); end.IsValid() { // of the last, which has none, the interval stays open
			elements = append(elements, nftables.SetElement{Key: end.AsSlice(), IntervalEnd: true})
		}
	}
	if err := c.AddSet(set, elements); err != nil {
		return nil, fmt.Errorf("set of private addresses: %w", err)
	}
	return set, nil
}

// after is the first address behind a prefix of IPv4; not valid: there is none.
func after(p netip.Prefix) netip.Addr {
	last := p.Masked().Addr().As4()
	for bit := p.Bits(); bit < 32; bit++ {
		last[bit/8] |= 0x80 >> (bit % 8)
	}
	return netip.AddrFrom4(last).Next()
}

func filterChain(t *nftables.Table, name string, hook *nftables.ChainHook) *nftables.Chain {
	return &nftables.Chain{Name: name, Table: t, Type: nftables.ChainTypeFilter, Hooknum: hook, Priority: nftables.ChainPriorityFilter}
}

// The parts of rules.

func equal(data []byte) *expr.Cmp     { return &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: data} }
func different(data []byte) *expr.Cmp { return &expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: data} }

func verdict(v expr.VerdictKind) []expr.Any { return []expr.Any{&expr.Verdict{Kind: v}} }

func load(base expr.PayloadBase, offset, size uint32) *expr.Payload {
	return &expr.Payload{DestRegister: 1, Base: base, Offset: offset, Len: size}
}

// device matches what came in by a device, or by another.
func device(op expr.CmpOp, name string) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1}, &expr.Cmp{Op: op, Register: 1, Data: interfaceName(name)}}
}

func outBy(name string) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1}, equal(interfaceName(name))}
}

func ofIPv4() []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1}, equal([]byte{unix.NFPROTO_IPV4})}
}

func protocol(number byte) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, equal([]byte{number})}
}

func address(field uint32, op expr.CmpOp, a netip.Addr) []expr.Any {
	return []expr.Any{load(expr.PayloadBaseNetworkHeader, field, 4), &expr.Cmp{Op: op, Register: 1, Data: a.AsSlice()}}
}

// in matches destinations that are in a set, or are not.
func in(set *nftables.Set, not bool) []expr.Any {
	return []expr.Any{load(expr.PayloadBaseNetworkHeader, destination, 4),
		&expr.Lookup{SourceRegister: 1, SetName: set.Name, SetID: set.ID, Invert: not}}
}

// answersOfTCP matches segments that begin no connection.
func answersOfTCP() []expr.Any {
	const flags, syn, ack = 13, 0x02, 0x10
	return append(protocol(unix.IPPROTO_TCP),
		load(expr.PayloadBaseTransportHeader, flags, 1),
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{syn | ack}, Xor: []byte{0}},
		different([]byte{syn}))
}

// known matches packets of connections that the kernel knows, and errors about them.
func known() []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Xor: make([]byte, 4),
			Mask: binaryutil.NativeEndian.PutUint32(expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED)},
		different(make([]byte, 4)),
	}
}
