package inspect

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"tapwatch/agent/path"
	"tapwatch/internal/e2b"
	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
)

// A guest that has a route back says that a port is closed; a firewall at one port leaves
// that as it is, and one without a route answers ARP alone.
func TestReplies(t *testing.T) {
	nettest.NeedRoot(t)
	guest := netip.MustParseAddr(e2b.GuestAddr)
	for name, c := range map[string]struct {
		do   func(guest string)
		want path.Tristate
	}{
		"well": {func(string) {}, path.Yes},
		"a firewall at envd": {func(in string) {
			nettest.IptablesNFT(t, in, "-A", "INPUT", "-p", "tcp", "--dport", "49983", "-j", "DROP")
		}, path.Yes},
		"a firewall for all": {func(in string) { nettest.IptablesNFT(t, in, "-P", "INPUT", "DROP") }, path.No},
		"no route back":      {func(in string) { ip(t, in, "route", "add", "blackhole", e2b.TapAddr+"/32") }, path.No},
		"its address is /32 only": {func(in string) {
			ip(t, in, "addr", "flush", "dev", "eth0")
			ip(t, in, "addr", "add", e2b.GuestAddr+"/32", "dev", "eth0")
		}, path.No},
	} {
		t.Run(name, func(t *testing.T) {
			slot := nettest.Netns(t)
			nettest.Tap(t, slot, "tap0")
			ip(t, slot, "addr", "add", e2b.TapAddr+"/30", "dev", "tap0")
			in := nettest.Guest(t, slot, "tap0", e2b.GuestMAC, net.ParseIP(e2b.GuestAddr), net.ParseIP(e2b.TapAddr))
			c.do(in)
			var got path.Tristate
			var err error
			for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
				got, err = Replies(netns.Path(slot), guest, 700*time.Millisecond)
				if err == nil && (got == c.want || c.want == path.No) { // a busy machine may answer late
					break
				}
			}
			if got != c.want || err != nil {
				t.Errorf("got %s, %v, want %s", got, err, c.want)
			}
		})
	}
}
