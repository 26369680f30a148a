package filter

import (
	"encoding/binary"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"tapwatch/internal/nettest"
	"tapwatch/internal/nlsafe"
)

// A table that its owner put to sleep drops nothing.
func TestDormantTable(t *testing.T) {
	ns := nettest.Netns(t)
	b := base{hook: nftables.ChainHookInput, policy: nftables.ChainPolicyDrop}
	b.make(t, ns)
	judged := func(want string) {
		t.Helper()
		f, _, err := ReadRules(ns, toRelay.Packets(), nil)
		if err != nil {
			t.Fatal(err)
		}
		said(t, f, want)
	}
	judged("drops: by its policy")
	nettest.In(t, ns, putToSleep)
	judged("")
}

// putToSleep sets the flag dormant of the table some, which the library cannot.
func putToSleep() error {
	const begin, end = 16, 17 // NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END
	message := func(b []byte, typ, flags uint16, body []byte) []byte {
		b = binary.NativeEndian.AppendUint32(b, uint32(unix.SizeofNlMsghdr+len(body)))
		b = binary.NativeEndian.AppendUint16(b, typ)
		b = binary.NativeEndian.AppendUint16(b, flags|unix.NLM_F_REQUEST)
		return append(append(b, make([]byte, 8)...), body...)
	}
	batch := []byte{unix.AF_UNSPEC, 0, 0, unix.NFNL_SUBSYS_NFTABLES}
	table := nlsafe.AppendAttr([]byte{unix.NFPROTO_INET, 0, 0, 0}, unix.NFTA_TABLE_NAME, []byte("some\x00"))
	table = nlsafe.AppendAttr(table, unix.NFTA_TABLE_FLAGS, []byte{0, 0, 0, 1})
	b := message(nil, begin, 0, batch)
	b = message(b, nft(unix.NFT_MSG_NEWTABLE), unix.NLM_F_ACK, table)
	b = message(b, end, 0, batch)
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Sendto(fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, answer, 0)
	if err == nil && n >= 20 {
		if code := int32(binary.NativeEndian.Uint32(answer[16:])); code != 0 {
			err = unix.Errno(-code)
		}
	}
	return err
}

// BenchmarkSlot is what a look at the filters of one slot costs.
func BenchmarkSlot(b *testing.B) {
	ns := nettest.Netns(b)
	nettest.Tap(b, ns, "tap0")
	nettest.IptablesNFT(b, ns, "-t", "nat", "-A", "PREROUTING", "-i", "eth0", "-d", "10.11.0.202", "-j", "DNAT", "--to", "169.254.0.21")
	nettest.IptablesNFT(b, ns, "-t", "nat", "-A", "POSTROUTING", "-o", "eth0", "-s", "169.254.0.21", "-j", "SNAT", "--to", "10.11.0.202")
	packets := append(toRelay.Packets(), ARP("tap0", "", toRelay.From.Addr(), toRelay.To.Addr())...)
	b.Run("rules", func(b *testing.B) {
		for b.Loop() {
			if _, _, err := ReadRules(ns, packets, packets[:1]); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("devices", func(b *testing.B) {
		nettest.In(b, ns, func() error {
			for b.Loop() {
				if _, err := OnDevices(func(string) bool { return false }, "tap0", "lo"); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// What the kernel says of chains and rules is read to its end, whatever it is.
func FuzzRules(f *testing.F) {
	f.Add([]byte{2, 0, 0, 0, 8, 0, 1, 0, 'f', 0, 0, 0})
	f.Add([]byte{1, 0, 0, 0, 44, 0, 4, 128, 40, 0, 1, 128, 9, 0, 1, 0, 'm', 'e', 't', 'a', 0, 0, 0, 0, 20, 0, 2, 128, 8, 0, 2, 0, 0, 0, 0, 1, 8, 0, 1, 0, 0, 0, 0, 1})
	f.Fuzz(func(_ *testing.T, body []byte) {
		c, err := parseChain(body)
		if err != nil {
			return
		}
		table, _, found, err := parseRule(body)
		if err != nil {
			return
		}
		r := &Rules{chains: []*chain{c}, sets: map[setKey]*set{}}
		for _, e := range found.exprs {
			if l, ok := e.(*expr.Lookup); ok {
				r.sets[setKey{table.Family, table.Name, l.SetName}] = newSet(true, []nftables.SetElement{{Key: []byte{1, 2}, Val: body}})
				r.sets[setKey{c.table.Family, c.table.Name, l.SetName}] = nil
			}
		}
		c.rules = []rule{found}
		r.Judge(append(toRelay.Packets(), ARP("eth0", "", toRelay.From.Addr(), toRelay.To.Addr())...))
	})
}
