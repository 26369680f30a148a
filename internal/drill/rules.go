package drill

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tapwatch/agent/path"
	"tapwatch/internal/e2b"
	"tapwatch/internal/netns"
)

// table is the name of the drill's own table of rules, in namespaces of the drill only.
const table = "tapwatch-drill"

// What packet filters can do to a path, beside a plain rule at input.
var ruleFaults = []Fault{
	{
		Name: "drop-rule", What: "an nftables rule in the namespace drops what comes in for envd's port",
		Hop: path.Relay, Expected: "rule-drops",
		Make: func(_ context.Context, b *Box) (func() error, error) {
			return addRule(b.Slot.Netns(), at(nftables.TableFamilyIPv4, nftables.ChainHookInput), toEnvd, drop)
		},
	},
	{
		Name: "drop-rule-host", What: "a rule of the host drops what goes to the namespace's address",
		Hop: path.Relay, Expected: "host-rule-drops",
		Make: func(_ context.Context, b *Box) (func() error, error) {
			return addRule("", at(nftables.TableFamilyIPv4, nftables.ChainHookOutput), toAddr(b.Slot.VpeerIP()), drop)
		},
	},
	{
		Name: "drop-rule-host-answers", What: "a rule of the host drops what comes from the slot's veth",
		Hop: path.Relay, Expected: "host-rule-drops",
		Make: func(_ context.Context, b *Box) (func() error, error) {
			return addRule("", at(nftables.TableFamilyINet, nftables.ChainHookInput), fromDevice(b.Slot.HostVeth()), drop)
		},
	},
	{
		Name: "drop-rule-raw", What: "a rule in the namespace drops what the guest's envd answers before all others see it",
		Hop: path.Relay, Expected: "rule-drops",
		Make: func(_ context.Context, b *Box) (func() error, error) {
			chain := at(nftables.TableFamilyIPv4, nftables.ChainHookPrerouting)
			chain.Priority = nftables.ChainPriorityRaw
			return addRule(b.Slot.Netns(), chain, fromDevice(b.Slot.Tap()), fromEnvd, drop)
		},
	},
	{
		Name: "drop-rule-answers", What: "a rule in the namespace drops answers, by the direction of their connection",
		Hop: path.Relay, Expected: "rule-drops",
		Make: func(_ context.Context, b *Box) (func() error, error) {
			return addRule(b.Slot.Netns(), at(nftables.TableFamilyIPv4, nftables.ChainHookOutput), []expr.Any{
				&expr.Ct{Key: expr.CtKeyDIRECTION, Register: 1},
				&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{1}},
			}, drop)
		},
	},
	{
		Name: "drop-rule-long", What: "a rule in the namespace drops what is longer than 100 bytes and goes to the guest",
		Hop: path.Relay, Expected: "rule-drops",
		Make: func(_ context.Context, b *Box) (func() error, error) {
			return addRule(b.Slot.Netns(), at(nftables.TableFamilyIPv4, nftables.ChainHookOutput), toDevice(b.Slot.Tap()), []expr.Any{
				&expr.Meta{Key: expr.MetaKeyLEN, Register: 1},
				&expr.Byteorder{SourceRegister: 1, DestRegister: 1, Op: expr.ByteorderHton, Len: 4, Size: 4},
				&expr.Cmp{Op: expr.CmpOpGt, Register: 1, Data: binary.BigEndian.AppendUint32(nil, 100)},
			}, drop)
		},
	},
	{
		Name: "drop-rule-user", What: "a rule in the namespace drops what root's sockets send, the relay's among them",
		Hop: path.Relay, Expected: "rule-drops",
		Make: func(_ context.Context, b *Box) (func() error, error) {
			return addRule(b.Slot.Netns(), at(nftables.TableFamilyIPv4, nftables.ChainHookOutput), []expr.Any{
				&expr.Meta{Key: expr.MetaKeySKUID, Register: 1},
				&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: make([]byte, 4)},
			}, drop)
		},
	},
	{
		Name: "drop-rule-device", What: "a chain of the tap's own (netdev) drops the TCP segments of the guest",
		Hop: path.Relay, Expected: "rule-drops",
		Make: func(_ context.Context, b *Box) (func() error, error) {
			chain := at(nftables.TableFamilyNetdev, nftables.ChainHookIngress)
			chain.Device = b.Slot.Tap()
			return addRule(b.Slot.Netns(), chain, fromEnvd, drop)
		},
	},
	{
		Name: "drop-rule-arp", What: "a rule for ARP drops the guest's answers, and the namespace forgets its address",
		Hop: path.Relay, Expected: "rule-drops",
		Make: func(_ context.Context, b *Box) (func() error, error) {
			chain := at(nftables.TableFamilyARP, nftables.ChainHookRef(0)) // NF_ARP_IN
			undo, err := addRule(b.Slot.Netns(), chain, []expr.Any{
				&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 6, Len: 2},
				&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{0, 2}},
			}, drop)
			if err != nil {
				return undo, err
			}
			return undo, b.tap(func(l netlink.Link) error {
				return netlink.NeighDel(&netlink.Neigh{LinkIndex: l.Attrs().Index, IP: b.Slot.GuestIP().AsSlice()})
			})
		},
	},
	{
		Name: "redirect-rule", What: "a NAT rule in the namespace redirects envd's port to another",
		Hop: path.Relay, Expected: "rule-drops",
		Make: func(_ context.Context, b *Box) (func() error, error) {
			chain := at(nftables.TableFamilyIPv4, nftables.ChainHookPrerouting)
			chain.Type, chain.Priority = nftables.ChainTypeNAT, nftables.ChainPriorityNATDest
			return addRule(b.Slot.Netns(), chain, toEnvd, []expr.Any{
				&expr.Immediate{Register: 1, Data: []byte{0, 1}},
				&expr.Redir{RegisterProtoMin: 1},
			})
		},
	},
}

// at is a chain of the drill's own table at a hook.
func at(family nftables.TableFamily, hook *nftables.ChainHook) nftables.Chain {
	return nftables.Chain{Name: "drill", Table: &nftables.Table{Family: family, Name: table}, Type: nftables.ChainTypeFilter,
		Hooknum: hook, Priority: nftables.ChainPriorityFilter}
}

// addRule adds a rule of these parts to a namespace, in a chain that is made for it; ""
// is the host's own.
func addRule(ns string, chain nftables.Chain, parts ...[]expr.Any) (undo func() error, err error) {
	err = rules(ns, func(c *nftables.Conn) {
		c.AddTable(chain.Table)
		c.AddRule(&nftables.Rule{Table: chain.Table, Chain: c.AddChain(&chain), Exprs: slices.Concat(parts...)})
	})
	return func() error { return rules(ns, func(c *nftables.Conn) { c.DelTable(chain.Table) }) }, err
}

// setForward switches the forwarding of IPv4 packets in a namespace.
func setForward(ns string, on bool) error {
	value := []byte("0")
	if on {
		value = []byte("1")
	}
	// /proc/sys/net shows the namespace of the thread that opens it.
	return netns.Do(ns, func() error { return os.WriteFile("/proc/sys/net/ipv4/ip_forward", value, 0o644) })
}

var drop = []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}}

// toEnvd matches TCP segments to envd's port, fromEnvd those from it.
var toEnvd, fromEnvd = ofPort(2), ofPort(0)

func ofPort(offset uint32) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.BigEndian.AppendUint16(nil, e2b.EnvdPort)},
	}
}

func toAddr(a netip.Addr) []expr.Any {
	const destination = 16 // in the IPv4 header
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: destination, Len: 4},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: a.AsSlice()},
	}
}

func fromDevice(name string) []expr.Any { return ofDevice(expr.MetaKeyIIFNAME, name) }
func toDevice(name string) []expr.Any   { return ofDevice(expr.MetaKeyOIFNAME, name) }

func ofDevice(key expr.MetaKey, name string) []expr.Any {
	padded := make([]byte, unix.IFNAMSIZ)
	copy(padded, name)
	return []expr.Any{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: padded}}
}

// rules changes the rules of a namespace in one step; "" is the host's own.
func rules(ns string, change func(*nftables.Conn)) error {
	do := func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		change(c)
		return c.Flush()
	}
	var err error
	if ns == "" {
		err = do()
	} else {
		err = netns.Do(ns, do)
	}
	if err != nil {
		return fmt.Errorf("change rules of %s: %w", ns, err)
	}
	return nil
}
