package filter

import (
	"cmp"
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// answer says how surely something is so, in this order.
type answer int

const (
	no        answer = iota
	perhaps          // it is not known
	sometimes        // it is known to differ from packet to packet: a rate, chance, a length
	yes
)

func (a answer) not() answer {
	switch a {
	case no:
		return yes
	case yes:
		return no
	}
	return a
}

func is(b bool) answer {
	if b {
		return yes
	}
	return no
}

// matching is one rule at work on one packet.
type matching struct {
	rules *Rules
	table *nftables.Table
	v     *view
	regs  []register

	odd string // an expression that gave some register a value

	takes   answer
	why     string // what of the packet, or of the rule, is not known
	verdict verdict
}

// register is what was loaded from one on, by the number of its first four bytes.
type register struct {
	word uint32
	value
}

// match runs a rule's expressions on a packet, as the kernel's registers do.
func (r *Rules) match(c *chain, exprs []expr.Any, v *view) *matching {
	m := &matching{rules: r, table: c.table, v: v, takes: yes}
	for _, e := range exprs {
		m.step(e)
		if m.takes == no || m.verdict.kind != goesOn {
			break
		}
	}
	return m
}

// and takes one more condition of the rule.
func (m *matching) and(a answer, why string) {
	if a == perhaps && m.why == "" {
		m.why = cmp.Or(why, m.odd, "a value that is not known")
	}
	m.takes = min(m.takes, a)
}

func (m *matching) step(e expr.Any) {
	switch e := e.(type) {
	case *expr.Meta:
		if !e.SourceRegister { // else it gives the packet a mark or the like
			m.load(e.Register, m.v.meta(e.Key))
		}
	case *expr.Payload:
		if e.OperationType == expr.PayloadWrite {
			m.ends(verdict{kind: anything}, "it changes the packet")
			return
		}
		m.load(e.DestRegister, m.v.payload(e))
	case *expr.Ct:
		if e.Register != 0 { // else it changes what is known of the connection
			m.load(e.Register, m.v.ct(e))
		}
	case *expr.Fib:
		m.load(e.Register, m.v.fib(e))
	case *expr.Numgen:
		m.load(e.Register, anything32)
	case *expr.Immediate:
		m.load(e.Register, value{lo: e.Data})
	case *expr.Bitwise:
		m.load(e.DestRegister, m.read(e.SourceRegister, int(e.Len)).masked(e))
	case *expr.Byteorder:
		m.load(e.DestRegister, m.read(e.SourceRegister, int(e.Len)).swapped(int(e.Size)))
	case *expr.Cmp:
		v := m.read(e.Register, len(e.Data))
		m.and(v.compare(e.Op, e.Data), v.why)
	case *expr.Range:
		v := m.read(e.Register, len(e.FromData))
		in := min(v.compare(expr.CmpOpGte, e.FromData), v.compare(expr.CmpOpLte, e.ToData))
		if e.Op == expr.CmpOpNeq {
			in = in.not()
		}
		m.and(in, v.why)
	case *expr.Lookup:
		m.lookup(e)
	default:
		m.statement(e)
	}
}

// statement takes an expression that asks for more than a register's value, or does
// something.
func (m *matching) statement(e expr.Any) {
	switch e := e.(type) {
	case *expr.Limit, *expr.Connlimit:
		m.and(sometimes, "")
	case *expr.Quota: // what it has counted until now
		m.and(is((e.Consumed >= e.Bytes) == e.Over), "")
	case *expr.Dynset:
		if len(e.Exprs) > 0 {
			m.and(sometimes, "") // a rate for each element
		}
	case *expr.Objref:
		m.object(e)
	case *expr.Match:
		a, why := m.iptables(e)
		m.and(a, why)
	case *expr.Target:
		data, err := xt.Marshal(xt.TableFamily(m.table.Family), e.Rev, e.Info)
		if err != nil {
			data = nil
		}
		if v := target(e.Name, data, m.v); v.kind != goesOn {
			m.ends(v, "target "+e.Name)
		}
	case *expr.Verdict:
		m.ends(verdictOf(e), "queue")
	case *expr.Reject:
		m.ends(verdict{kind: drops}, "")
	case *expr.Masq:
		m.ends(verdict{kind: translates, to: translation{source: true, masquerades: true}}, "")
	case *expr.NAT:
		to := translation{source: e.Type == expr.NATTypeSourceNAT, known: true}
		m.translation(&to, e.RegAddrMin, e.RegProtoMin)
	case *expr.Redir:
		to := translation{own: true, known: true}
		m.translation(&to, 0, e.RegisterProtoMin)
	case *strange:
		m.strange(e.name)
	}
}

// ends sets what the rule does. Why says what is not known of that.
func (m *matching) ends(v verdict, why string) {
	if v.kind == anything && m.why == "" {
		m.why = why
	}
	m.verdict = v
}

func verdictOf(e *expr.Verdict) verdict {
	switch e.Kind {
	case expr.VerdictDrop:
		return verdict{kind: drops}
	case expr.VerdictAccept, expr.VerdictStop:
		return verdict{kind: accepts}
	case expr.VerdictReturn:
		return verdict{kind: returns}
	case expr.VerdictJump:
		return verdict{kind: jumps, chain: e.Chain}
	case expr.VerdictGoto:
		return verdict{kind: goesTo, chain: e.Chain}
	case expr.VerdictContinue, expr.VerdictBreak:
		return verdict{}
	}
	return verdict{kind: anything}
}

// translation ends a rule that gives another address, out of registers.
func (m *matching) translation(to *translation, addr, port uint32) {
	if addr != 0 {
		v := m.read(addr, 4)
		to.known = to.known && v.known()
		if v.known() {
			to.addr = netip.AddrFrom4([4]byte(v.lo))
		}
	}
	if port != 0 {
		v := m.read(port, 2)
		to.known = to.known && v.known()
		if v.known() {
			to.port = binary.BigEndian.Uint16(v.lo)
		}
	}
	m.ends(verdict{kind: translates, to: *to}, "")
}

// Named objects that a rule refers to, from include/uapi/linux/netfilter/nf_tables.h.
const (
	objectQuota     = 2
	objectLimit     = 4
	objectConnlimit = 5
	objectSynproxy  = 10
)

func (m *matching) object(e *expr.Objref) {
	switch e.Type {
	case objectLimit, objectConnlimit:
		m.and(sometimes, "")
	case objectQuota, 0: // 0: one of a map
		m.and(perhaps, "a named object")
	case objectSynproxy:
		m.ends(verdict{kind: anything}, "synproxy")
	}
}

// strange takes an expression that is not judged: one that only gives a register a
// value, one that does nothing to a packet's way, or one that may do anything.
func (m *matching) strange(name string) {
	switch name {
	case "counter", "log", "last", "dup", "notrack", "flow_offload", "secmark", "cthelper", "cttimeout", "ctexpect":
	case "rt", "socket", "osf", "xfrm", "tunnel", "inner", "exthdr", "hash", "bitwise", "payload":
		m.regs = nil
		m.odd = name
	default:
		m.ends(verdict{kind: anything}, name)
	}
}

// lookup answers a rule's look into a set. Of a map it gives the verdict or the value
// that belongs to what was found.
func (m *matching) lookup(e *expr.Lookup) {
	s := m.rules.readSet(m.table, e.SetName)
	if s == nil {
		m.take(e, nil, perhaps, "set "+e.SetName)
		return
	}
	v := m.read(e.SourceRegister, s.keyLen())
	element, found := s.find(v)
	m.take(e, element, found, v.why)
}

func (m *matching) take(e *expr.Lookup, element *nftables.SetElement, found answer, why string) {
	if e.Invert {
		found = found.not()
	}
	m.and(found, why)
	switch {
	case !e.IsDestRegSet || found == no:
	case e.DestRegister == 0 && element == nil:
		m.ends(verdict{kind: anything}, why)
	case e.DestRegister == 0:
		v, ok := parseVerdict(element.Val)
		if !ok {
			m.ends(verdict{kind: anything}, "set "+e.SetName)
			return
		}
		m.ends(verdictOf(v), "")
	case element == nil:
		m.load(e.DestRegister, value{why: why})
	default:
		m.load(e.DestRegister, value{lo: element.Val})
	}
}

// load gives a register a value. What the packet has not is not loaded: the kernel ends
// the rule there.
func (m *matching) load(into uint32, v value) {
	if v.absent {
		m.takes = no
		return
	}
	at := word(into)
	for i := range m.regs {
		if m.regs[i].word == at {
			m.regs[i].value = v
			return
		}
	}
	m.regs = append(m.regs, register{at, v})
}

// held returns what was loaded into a register.
func (m *matching) held(at uint32) (v value, ok bool) {
	for i := range m.regs {
		if m.regs[i].word == at {
			return m.regs[i].value, true
		}
	}
	return value{}, false
}

// read returns the value of some bytes from a register on: of several registers where
// one is not enough, as sets of pairs have them.
func (m *matching) read(from uint32, size int) value {
	at := word(from)
	v, ok := m.held(at)
	if !ok {
		return m.within(at, size)
	}
	for len(v.lo) < size && v.known() {
		more, _ := m.held(at + uint32(len(v.lo)+3)/4)
		if !more.known() {
			return value{why: more.why}
		}
		padded := append([]byte(nil), v.lo...)
		for len(padded)%4 != 0 {
			padded = append(padded, 0)
		}
		v.lo = append(padded, more.lo...)
	}
	return v.cut(size)
}

// within reads a part of a value that begins in another register: of a map's address
// and port, say.
func (m *matching) within(at uint32, size int) value {
	for _, v := range m.regs {
		if skip := int(at-v.word) * 4; at > v.word && v.known() && skip+size <= len(v.lo) {
			return value{lo: v.lo[skip : skip+size]}
		}
	}
	return value{}
}

// anything32 is a number that is another for each packet.
var anything32 = value{lo: make([]byte, 4), hi: []byte{255, 255, 255, 255}, varies: sometimes, native: true}

// meta returns what the packet has of it.
func (v *view) meta(key expr.MetaKey) value {
	ip := v.ARP == 0
	switch key {
	case expr.MetaKeyL4PROTO:
		if !ip {
			return value{absent: true}
		}
		return value{lo: []byte{unix.IPPROTO_TCP}}
	case expr.MetaKeyNFPROTO:
		return v.nfproto()
	case expr.MetaKeyPROTOCOL:
		return value{lo: binary.BigEndian.AppendUint16(nil, v.etherType())}
	case expr.MetaKeyIIFNAME:
		return value{lo: ifname(v.in)}
	case expr.MetaKeyOIFNAME:
		return value{lo: ifname(v.out)}
	case expr.MetaKeyIIF, expr.MetaKeyOIF:
		name := v.in
		if key == expr.MetaKeyOIF {
			name = v.out
		}
		if name == "" {
			return value{lo: make([]byte, 4)}
		}
		if i := index(name); i != 0 {
			return value{lo: binary.NativeEndian.AppendUint32(nil, i)}
		}
	case expr.MetaKeyIIFGROUP, expr.MetaKeyOIFGROUP:
		name := v.in
		if key == expr.MetaKeyOIFGROUP {
			name = v.out
		}
		if name == "" {
			return value{absent: true}
		}
		if l, err := netlink.LinkByName(name); err == nil {
			return value{lo: binary.NativeEndian.AppendUint32(nil, l.Attrs().Group)}
		}
	case expr.MetaKeyLEN:
		if !ip {
			return value{why: "the packet's length"}
		}
		lo, hi := v.length()
		return value{lo: binary.NativeEndian.AppendUint32(nil, lo), hi: binary.NativeEndian.AppendUint32(nil, hi), varies: sometimes, native: true}
	case expr.MetaKeySKUID, expr.MetaKeySKGID:
		return v.user(key)
	case expr.MetaKeyPRANDOM:
		return anything32
	}
	return value{why: metaNames[key]}
}

var metaNames = map[expr.MetaKey]string{
	expr.MetaKeyMARK: "meta mark", expr.MetaKeyPRIORITY: "meta priority", expr.MetaKeyIIFTYPE: "the kind of the device", expr.MetaKeyOIFTYPE: "the kind of the device",
	expr.MetaKeyRTCLASSID: "meta rtclassid", expr.MetaKeySECMARK: "meta secmark", expr.MetaKeyPKTTYPE: "meta pkttype", expr.MetaKeyCPU: "meta cpu",
	expr.MetaKeyIIFGROUP: "the group of the device", expr.MetaKeyOIFGROUP: "the group of the device", expr.MetaKeyCGROUP: "meta cgroup",
	expr.MetaKeyIIF: "the number of the device", expr.MetaKeyOIF: "the number of the device",
}

func (v *view) nfproto() value {
	if v.link {
		return value{why: "meta nfproto"}
	}
	return value{lo: []byte{unix.NFPROTO_IPV4}}
}

func (v *view) etherType() uint16 {
	if v.ARP != 0 {
		return unix.ETH_P_ARP
	}
	return unix.ETH_P_IP
}

// Bounds of what an HTTP request and its answer take, with their headers: no request
// is shorter, and what is longer is in several packets, which the kernel may hand on as
// one.
const (
	shortestRequest = 110
	shortestAnswer  = 110
	longest         = 65535
	shortestSYN     = 44
	longestSYN      = 80
)

// length is between which bounds the packet's is, as IPv4 counts it.
func (v *view) length() (lo, hi uint32) {
	switch {
	case v.Opens:
		return shortestSYN, longestSYN
	case v.Answer:
		return shortestAnswer, longest
	}
	return shortestRequest, longest
}

// user is whose socket sends the packet. What is passed on has none.
func (v *view) user(key expr.MetaKey) value {
	switch {
	case v.in != "" && v.hook != *nftables.ChainHookInput:
		return value{absent: true}
	case key == expr.MetaKeySKUID && v.in == "" && v.User != nil:
		return value{lo: binary.NativeEndian.AppendUint32(nil, *v.User)}
	}
	return value{why: "the socket's owner"}
}

func ifname(name string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return b
}

// index returns a device's number in the thread's namespace; 0: unknown.
func index(name string) uint32 {
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return 0
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0
	}
	defer unix.Close(fd)
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, ifr); err != nil {
		return 0
	}
	return ifr.Uint32()
}

// ctNew and its like are NF_CT_STATE_BIT of include/uapi/linux/netfilter.
const (
	ctInvalid     = 1
	ctEstablished = 1 << 1
	ctNew         = 1 << 3
)

// state is that of the packet's connection.
func (v *view) state() uint32 {
	switch {
	case !v.tracked: // it is not known yet, which counts as invalid
		return ctInvalid
	case v.Opens && !v.Answer:
		return ctNew
	}
	return ctEstablished
}

// direction is an enum ip_conntrack_dir.
func direction(answer bool) byte {
	if answer {
		return 1
	}
	return 0
}

func (v *view) ct(e *expr.Ct) value {
	switch {
	case v.link:
		return value{why: "the connection, on a device"}
	case e.Key == expr.CtKeySTATE:
		return value{lo: binary.NativeEndian.AppendUint32(nil, v.state())}
	case !v.tracked:
		return value{absent: true}
	case e.Key == expr.CtKeyDIRECTION:
		return value{lo: []byte{direction(v.Answer)}}
	case e.Key == expr.CtKeyMARK:
		return value{why: "ct mark"}
	case e.Key == expr.CtKeySTATUS:
		return value{why: "ct status"}
	}
	return value{why: "ct"}
}

// fib is what the routes say of the packet: only of whom its destination is.
func (v *view) fib(e *expr.Fib) value {
	const unicast, local = 1, 2 // RTN_UNICAST, RTN_LOCAL
	if !e.ResultADDRTYPE || !e.FlagDADDR || v.to != v.To {
		return value{why: "fib"}
	}
	kind := uint32(unicast)
	if v.In != "" && v.Out == "" {
		kind = local
	}
	return value{lo: binary.NativeEndian.AppendUint32(nil, kind)}
}

// iptables answers the match that iptables-nft keeps as its own.
func (m *matching) iptables(e *expr.Match) (answer, string) {
	data, err := xt.Marshal(xt.TableFamily(m.table.Family), e.Rev, e.Info)
	if err != nil {
		return perhaps, "match " + e.Name
	}
	return m.v.xtables(e.Name, byte(e.Rev), data), "match " + e.Name
}
