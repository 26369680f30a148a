package filter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"unsafe"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"tapwatch/agent/path"
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

// from enum nf_inet_hooks of include/uapi/linux/netfilter.h, as iptables calls them
var hookNames = [hooks]string{"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"}

// priorities are those of the tables, from enum nf_ip_hook_priorities.
var priorities = map[string]int32{"raw": -300, "mangle": -150, "nat": translatesDest, "security": 50}

// judge adds what the table does with a packet at each hook that it passes.
func (t *legacy) judge(f *path.Filters, p *Packet) {
	if t.name == "nat" && (!p.Opens || p.Answer) {
		return
	}
	for h := range nftables.ChainHook(hooks) {
		t.walk(p, h).judge(f, p, fmt.Sprintf("chain %s of table %s (iptables-legacy)", hookNames[h], t.name), false)
	}
}

// walk follows a packet from a hook through the table. That a packet does not pass there,
// or that the table has no such hook, does nothing to it.
func (t *legacy) walk(p *Packet, hook nftables.ChainHook) fate {
	if uint32(hook) >= hooks || t.valid&(1<<hook) == 0 {
		return fate{}
	}
	priority := priorities[t.name]
	if t.name == "nat" && hook == *nftables.ChainHookPostrouting {
		priority = translatesFrom
	}
	v, ok := p.atHook(hook, priority)
	if !ok {
		return fate{}
	}
	left := maxEntries
	return t.chain(&v, t.begins[hook], t.underflow[hook], 0, &left)
}

// noPolicy is that of a chain that a rule leads to.
const noPolicy = ^uint32(0)

// chain walks one chain. Policy is where its policy stands, left how many entries may
// still be looked at.
func (t *legacy) chain(v *view, at, policy uint32, depth int, left *int) fate {
	follow := newCourse()
	for n := 1; follow.passing > no; n++ {
		e, ok := t.entry(at)
		name, number := e.target()
		if *left--; !ok || name == "ERROR" || *left < 0 { // the table's end, or another chain's beginning
			follow.rule(yes, "the table's end", fmt.Sprintf("by rule %d", n), verdict{kind: anything}, nil)
			break
		}
		takes, why := e.takes(v)
		isPolicy := at == policy
		if at += e.next; takes == no {
			continue
		}
		by := fmt.Sprintf("by rule %d", n)
		if depth > 0 {
			by += " of another chain"
		}
		if isPolicy {
			by = "by its policy"
		}
		to := e.verdict(name, number, at, v)
		if to.kind == jumps && depth >= maxJumps {
			to.kind = anything
		}
		follow.rule(takes, why, by, to, func() fate { return t.chain(v, uint32(number), noPolicy, depth+1, left) })
	}
	return follow.ends()
}

// verdict is what a rule does with a packet that it takes. Next is where the next rule
// is.
func (e entry) verdict(name string, number int32, next uint32, v *view) verdict {
	const drop, accept, back = -1, -2, -5 // -NF_DROP-1, -NF_ACCEPT-1, XT_RETURN
	const isGoto = 1 << 1                 // IPT_F_GOTO
	switch {
	case name != "":
		return target(name, e.targeted[matchHead:], v)
	case number >= 0 && uint32(number) == next: // a jump to what follows: no target
		return verdict{}
	case number == drop:
		return verdict{kind: drops}
	case number == accept:
		return verdict{kind: accepts}
	case number == back:
		return verdict{kind: returns}
	case number < 0:
		return verdict{kind: anything}
	case e.flags&isGoto != 0:
		return verdict{kind: goesTo}
	}
	return verdict{kind: jumps}
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
	if len(e.targeted) < matchHead {
		return "", 0
	}
	name = unix.ByteSliceToString(e.targeted[2:31])
	if name == "" && len(e.targeted) >= matchHead+4 {
		verdict = int32(binary.NativeEndian.Uint32(e.targeted[matchHead:]))
	}
	return name, verdict
}

// takes says how surely the rule is for a packet, and what is not known of that.
func (e entry) takes(v *view) (takes answer, why string) {
	h, inverted := e.head, e.head[83]
	const in, out, src, dst, frag, proto = 0x01, 0x02, 0x08, 0x10, 0x20, 0x40 // IPT_INV_*
	takes = yes
	and := func(mask byte, a answer, what string) {
		if inverted&mask != 0 {
			a = a.not()
		}
		if takes = min(takes, a); a == perhaps && why == "" {
			why = what
		}
	}
	and(src, masksAddr(v.from.Addr(), h[8:12], h[0:4]), "the packet's source")
	and(dst, masksAddr(v.to.Addr(), h[12:16], h[4:8]), "the packet's destination")
	and(in, is(masks(ifname(v.in), h[48:64], h[16:32])), "")
	and(out, is(masks(ifname(v.out), h[64:80], h[32:48])), "")
	if number := binary.NativeEndian.Uint16(h[80:]); number != 0 {
		and(proto, is(number == unix.IPPROTO_TCP), "")
	}
	if e.flags&1 != 0 { // IPT_F_FRAG: ours are none
		and(frag, no, "")
	}
	for b := e.matches; len(b) > 0 && takes > no; {
		n := 0
		if len(b) >= matchHead {
			n = int(binary.NativeEndian.Uint16(b))
		}
		if n < matchHead || n > len(b) {
			return perhaps, "a match"
		}
		name := unix.ByteSliceToString(b[2:31])
		and(0, v.xtables(name, b[31], b[matchHead:n]), "match "+name)
		b = b[n:]
	}
	return takes, why
}

// masksAddr says whether an address is what is wanted, as far as a mask goes.
func masksAddr(a netip.Addr, mask, want []byte) answer {
	if !a.Is4() {
		if binary.NativeEndian.Uint32(mask) == 0 {
			return yes
		}
		return perhaps
	}
	return is(masks(a.AsSlice(), mask, want))
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
