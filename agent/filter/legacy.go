package filter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"unsafe"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// Tables of iptables-legacy are read by getsockopt, as iptables-save does. A table
// that nobody has made is not asked for: that would make it.

// from include/uapi/linux/netfilter_ipv4/ip_tables.h
const (
	iptGetInfo    = 64
	iptGetEntries = 65
	infoLen       = 84 // struct ipt_getinfo
	entriesLen    = 40 // struct ipt_get_entries, before the entries
	hooks         = 5
)

// legacy is one table.
type legacy struct {
	name      string
	valid     uint32 // bits of the hooks that it has
	begins    [hooks]uint32
	underflow [hooks]uint32 // where each hook's policy is
	blob      []byte
}

// maxTable bounds what is read: 64 MiB are some 400,000 rules.
const maxTable = 64 << 20

// readLegacy reads the tables of the thread's namespace.
func readLegacy() ([]*legacy, error) {
	names, err := os.ReadFile("/proc/thread-self/net/ip_tables_names")
	if errors.Is(err, os.ErrNotExist) || err == nil && len(names) == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var tables []*legacy
	for _, name := range strings.Fields(string(names)) {
		t, err := readTable(fd, name)
		if err != nil {
			return nil, fmt.Errorf("table %s: %w", name, err)
		}
		tables = append(tables, t)
	}
	return tables, nil
}

// tries bounds how often a table is read that others change meanwhile.
const tries = 4

func readTable(fd int, name string) (*legacy, error) {
	for range tries {
		info := make([]byte, infoLen)
		copy(info, name)
		if err := getsockopt(fd, iptGetInfo, info); err != nil {
			return nil, err
		}
		t := &legacy{name: name, valid: binary.NativeEndian.Uint32(info[32:])}
		for h := range hooks {
			t.begins[h] = binary.NativeEndian.Uint32(info[36+4*h:])
			t.underflow[h] = binary.NativeEndian.Uint32(info[56+4*h:])
		}
		size := binary.NativeEndian.Uint32(info[80:])
		if size > maxTable {
			return nil, fmt.Errorf("its %d bytes are more than is read", size)
		}
		entries := make([]byte, entriesLen+int(size))
		copy(entries, name)
		binary.NativeEndian.PutUint32(entries[32:], size)
		err := getsockopt(fd, iptGetEntries, entries)
		if errors.Is(err, unix.EAGAIN) { // it has another size by now
			continue
		}
		if err != nil {
			return nil, err
		}
		t.blob = entries[entriesLen:]
		return t, nil
	}
	return nil, errors.New("others change it all the time")
}

func getsockopt(fd, opt int, b []byte) error {
	n := uint32(len(b))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.IPPROTO_IP, uintptr(opt),
		uintptr(unsafe.Pointer(&b[0])), uintptr(unsafe.Pointer(&n)), 0)
	if errno != 0 {
		return errno
	}
	return nil
}

func (t *legacy) drops(packets []Packet) (drops []string) {
	if t.name == "nat" {
		return nil
	}
	for i := range packets {
		if at := t.walk(&packets[i]); at.verdict == dropped {
			drops = append(drops, fmt.Sprintf("chain %s of table %s (iptables-legacy) drops %s, %s",
				hookNames[packets[i].Hook], t.name, packets[i].What, at.how))
		}
	}
	return drops
}

// from enum nf_inet_hooks of include/uapi/linux/netfilter.h, as iptables calls them
var hookNames = map[nftables.ChainHook]string{0: "PREROUTING", 1: "INPUT", 2: "FORWARD", 3: "OUTPUT", 4: "POSTROUTING"}

// walk follows a packet from its hook through the table.
func (t *legacy) walk(p *Packet) result {
	h := uint32(p.Hook)
	if h >= hooks || t.valid&(1<<h) == 0 {
		return result{}
	}
	return t.chain(p, t.begins[h], t.underflow[h], 0)
}

// noPolicy is that of a chain that a rule leads to.
const noPolicy = ^uint32(0)

// chain walks one chain. Policy is where its policy stands.
func (t *legacy) chain(p *Packet, at, policy uint32, depth int) result {
	for n := 1; ; n++ {
		e, ok := t.entry(at)
		if !ok {
			return result{unclear, ""}
		}
		how := fmt.Sprintf("by rule %d", n)
		if at == policy {
			how = "by its policy"
		}
		at += e.next
		takes := e.takes(p)
		if takes == no {
			continue
		}
		r, ends := t.verdict(p, e, takes, how, at, depth)
		if ends {
			return r
		}
	}
}

// verdict is what a rule that takes a packet does with it; ends says whether the
// chain ends there. Next is where the next rule is.
func (t *legacy) verdict(p *Packet, e entry, takes answer, how string, next uint32, depth int) (result, bool) {
	name, v := e.target()
	switch name {
	case "":
	case "ERROR": // the table's end, or another chain's beginning
		return result{unclear, ""}, true
	default:
		verdict := target(name)
		switch {
		case verdict == nil:
			return result{}, false
		case takes == perhaps:
			return result{unclear, ""}, true
		case verdict.Kind == verdictNAT:
			return result{translated, ""}, true
		case verdict.Kind == verdictMasquerade:
			return result{translated, Masquerade}, true
		}
		return result{dropped, how}, true
	}
	const drop, accept, back = -1, -2, -5 // -NF_DROP-1, -NF_ACCEPT-1, XT_RETURN
	switch {
	case v >= 0 && uint32(v) == next: // a jump to what follows: no target
		return result{}, false
	case takes == perhaps:
		return result{unclear, ""}, true
	case v == drop:
		return result{dropped, how}, true
	case v == accept:
		return result{accepted, ""}, true
	case v == back:
		return result{}, true
	case v < 0 || depth >= maxJumps:
		return result{unclear, ""}, true
	}
	r := t.chain(p, uint32(v), noPolicy, depth+1)
	if r.verdict == dropped {
		r.how += " of another chain, from rule" + strings.TrimPrefix(how, "by rule")
	}
	const isGoto = 1 << 1 // IPT_F_GOTO
	return r, r.verdict != none || e.flags&isGoto != 0
}

// entry is struct ipt_entry.
type entry struct {
	head     []byte // struct ipt_ip
	flags    byte
	matches  []byte
	targeted []byte // struct xt_entry_target
	next     uint32
}

const (
	entryHead = 112 // sizeof(struct ipt_entry)
	matchHead = 32  // sizeof(struct xt_entry_match), and of the target
)

func (t *legacy) entry(at uint32) (e entry, ok bool) {
	if uint64(at)+entryHead > uint64(len(t.blob)) {
		return e, false
	}
	b := t.blob[at:]
	begins, next := uint32(binary.NativeEndian.Uint16(b[88:])), uint32(binary.NativeEndian.Uint16(b[90:]))
	if begins < entryHead || next < begins+matchHead || uint64(next) > uint64(len(b)) {
		return e, false
	}
	return entry{head: b[:84], flags: b[82], matches: b[entryHead:begins], targeted: b[begins:next], next: next}, true
}

// target returns its name, and the verdict of the standard target, which has none.
func (e entry) target() (name string, verdict int32) {
	name = unix.ByteSliceToString(e.targeted[2:31])
	if name == "" && len(e.targeted) >= matchHead+4 {
		verdict = int32(binary.NativeEndian.Uint32(e.targeted[matchHead:]))
	}
	return name, verdict
}

// takes says whether the rule is for a packet.
func (e entry) takes(p *Packet) answer {
	h, inverted := e.head, e.head[83]
	const in, out, src, dst, frag, proto = 0x01, 0x02, 0x08, 0x10, 0x20, 0x40 // IPT_INV_*
	differs := func(mask byte, same bool) bool { return same == (inverted&mask != 0) }
	from, to := p.From.Addr().As4(), p.To.Addr().As4()
	number := binary.NativeEndian.Uint16(h[80:])
	switch {
	case differs(src, masks(from[:], h[8:12], h[0:4])),
		differs(dst, masks(to[:], h[12:16], h[4:8])),
		differs(in, masks(ifname(p.In), h[48:64], h[16:32])),
		differs(out, masks(ifname(p.Out), h[64:80], h[32:48])),
		number != 0 && differs(proto, number == unix.IPPROTO_TCP),
		e.flags&1 != 0 && inverted&frag == 0: // IPT_F_FRAG: ours are none
		return no
	}
	takes := yes
	for b := e.matches; len(b) > 0; {
		n := 0
		if len(b) >= matchHead {
			n = int(binary.NativeEndian.Uint16(b))
		}
		if n < matchHead || n > len(b) {
			return perhaps
		}
		switch p.legacyMatch(unix.ByteSliceToString(b[2:31]), b[31], b[matchHead:n]) {
		case no:
			return no
		case perhaps:
			takes = perhaps
		}
		b = b[n:]
	}
	return takes
}

// masks says whether a value is what is wanted, as far as a mask goes.
func masks(v, mask, want []byte) bool {
	for i := range v {
		if (v[i]^want[i])&mask[i] != 0 {
			return false
		}
	}
	return true
}

// legacyMatch answers a match, as struct xt_tcp, xt_state_info and
// xt_conntrack_mtinfo2 have it.
func (p *Packet) legacyMatch(name string, revision byte, data []byte) answer {
	const byState, alias = 1, 1 << 13 // XT_CONNTRACK_STATE; XT_CONNTRACK_STATE_ALIAS says only how it was written
	switch {
	case name == "comment":
		return yes
	case name == "tcp" && len(data) >= 12:
		if data[8] != 0 || data[9] != 0 || data[11] != 0 { // option, flags, inversions
			return perhaps
		}
		port := func(at int) uint16 { return binary.NativeEndian.Uint16(data[at:]) }
		return p.ports([2]uint16{port(0), port(2)}, [2]uint16{port(4), port(6)})
	case name == "state" && len(data) >= 4:
		return p.inState(binary.NativeEndian.Uint32(data), false)
	case name == "conntrack" && revision >= 2 && len(data) >= 152:
		flags, inverted, state := binary.NativeEndian.Uint16(data[146:]), binary.NativeEndian.Uint16(data[148:]), binary.NativeEndian.Uint16(data[150:])
		if flags&^alias != byState {
			return perhaps
		}
		return p.inState(uint32(state), inverted&byState != 0)
	}
	return perhaps
}

// inState says whether the packet's state of connection is in a mask of
// NF_CT_STATE_BITs.
func (p *Packet) inState(mask uint32, inverted bool) answer {
	mine := uint32(ctNew)
	if p.Established {
		mine = ctEstablished
	}
	if (mask&mine != 0) != inverted {
		return yes
	}
	return no
}
