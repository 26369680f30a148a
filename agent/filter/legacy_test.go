package filter

import (
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"tapwatch/agent/path"
	"tapwatch/internal/nettest"
)

// Rules as iptables-legacy makes them.
func TestLegacyRules(t *testing.T) {
	nettest.NeedRoot(t)
	for name, c := range map[string]struct {
		rules []string
		want  string // of what drops it; empty: nothing does
	}{
		"an empty table":                   {[]string{"-P INPUT ACCEPT"}, ""},
		"policy":                           {[]string{"-P INPUT DROP"}, "chain INPUT of table filter (iptables-legacy) drops a request, by its policy"},
		"its port":                         {[]string{"-A INPUT -p tcp --dport 22 -j DROP", "-A INPUT -i eth0 -p tcp --dport 49983 -j DROP"}, "by rule 2"},
		"a range of ports":                 {[]string{"-A INPUT -p tcp --dport 49000:50000 -j DROP"}, "by rule 1"},
		"another port":                     {[]string{"-A INPUT -p tcp --dport 22 -j DROP"}, ""},
		"another protocol":                 {[]string{"-A INPUT -p udp -j DROP"}, ""},
		"every other protocol":             {[]string{"-A INPUT ! -p udp -j DROP"}, "by rule 1"},
		"another interface":                {[]string{"-A INPUT -i tap0 -j DROP"}, ""},
		"interfaces of that beginning":     {[]string{"-A INPUT -i eth+ -j DROP"}, "by rule 1"},
		"not that interface":               {[]string{"-A INPUT ! -i eth0 -j DROP"}, ""},
		"its source":                       {[]string{"-A INPUT -s 10.12.0.0/16 -j DROP"}, "by rule 1"},
		"another source":                   {[]string{"-A INPUT -s 10.13.0.0/16 -j DROP"}, ""},
		"another destination":              {[]string{"-A INPUT ! -d 10.12.0.3 -j DROP"}, ""},
		"rejected":                         {[]string{"-A INPUT -j REJECT"}, "by rule 1"},
		"accepted before":                  {[]string{"-P INPUT DROP", "-A INPUT -p tcp --dport 49983 -j ACCEPT"}, ""},
		"what is established alone passes": {[]string{"-P INPUT DROP", "-A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT"}, "by its policy"},
		"the same, by state":               {[]string{"-P INPUT DROP", "-A INPUT -m state --state ESTABLISHED -j ACCEPT"}, "by its policy"},
		"what is new":                      {[]string{"-A INPUT -m conntrack --ctstate NEW -j DROP"}, "by rule 1"},
		"a match that is not judged":       {[]string{"-A INPUT -m limit --limit 5/s -j DROP"}, ""},
		"perhaps accepted before":          {[]string{"-P INPUT DROP", "-A INPUT -m limit --limit 5/s -j ACCEPT"}, ""},
		"with a comment":                   {[]string{"-A INPUT -m comment --comment why -j DROP"}, "by rule 1"},
		"a chain that it leads to":         {[]string{"-N other", "-A other -p tcp -j DROP", "-A INPUT -j other"}, "by rule 1 of another chain, from rule 1"},
		"a chain that gives it back":       {[]string{"-N other", "-A other -i eth0 -j RETURN", "-A other -j DROP", "-A INPUT -j other"}, ""},
		"a chain that it goes to":          {[]string{"-N other", "-A other -i tap0 -j DROP", "-A INPUT -g other", "-A INPUT -j DROP"}, ""},
		"before all, in raw":               {[]string{"-t raw -A PREROUTING -j DROP"}, ""}, // another hook than is asked for
		"the answers":                      {[]string{"-A OUTPUT -o eth0 -p tcp --sport 49983 -j DROP"}, "chain OUTPUT of table filter (iptables-legacy) drops an answer, by rule 1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns := nettest.Netns(t)
			for _, r := range c.rules {
				nettest.IptablesLegacy(t, ns, strings.Fields(r)...)
			}
			r, err := ReadRules(ns, []Packet{toRelay, fromRelay}, nil)
			got := strings.Join(r.Drops, "\n")
			if err != nil || (got == "") != (c.want == "") || !strings.Contains(got, c.want) || strings.Contains(got, "\n") {
				t.Errorf("got %q, %v, want %q", got, err, c.want)
			}
		})
	}
}

// To look makes no table.
func TestLegacyLookMakesNothing(t *testing.T) {
	ns := nettest.Netns(t)
	if _, err := ReadRules(ns, []Packet{toRelay}, nil); err != nil {
		t.Fatal(err)
	}
	nettest.In(t, ns, func() error {
		b, err := os.ReadFile("/proc/thread-self/net/ip_tables_names")
		if len(b) != 0 {
			t.Errorf("tables: %q", b)
		}
		return err
	})
}

func FuzzLegacy(f *testing.F) {
	f.Add(make([]byte, 400), uint32(0), uint32(0))
	f.Fuzz(func(_ *testing.T, blob []byte, at, policy uint32) {
		t := &legacy{name: "filter", valid: 31, begins: [hooks]uint32{at, at, at, at, at}, underflow: [hooks]uint32{policy}, blob: blob}
		p := toRelay
		t.walk(&p) // comes to an end
	})
}

func TestTranslates(t *testing.T) {
	nettest.NeedRoot(t)
	toHost := Packet{What: "what comes for the sandbox", Hook: *nftables.ChainHookPrerouting, In: "eth0",
		From: netip.MustParseAddrPort("10.12.0.2:0"), To: netip.MustParseAddrPort("10.11.0.1:49983")}
	dnat := func(dst string) func(*testing.T, string) {
		return func(t *testing.T, ns string) {
			nettest.In(t, ns, func() error {
				conn, err := nftables.New()
				if err != nil {
					return err
				}
				table := conn.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "nat"})
				chain := conn.AddChain(&nftables.Chain{Name: "pre", Table: table, Type: nftables.ChainTypeNAT,
					Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityNATDest})
				conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
					&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4},
					&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: netip.MustParseAddr(dst).AsSlice()},
					&expr.Immediate{Register: 1, Data: []byte{169, 254, 0, 21}},
					&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1},
				}})
				return conn.Flush()
			})
		}
	}
	legacy := func(rule string) func(*testing.T, string) {
		return func(t *testing.T, ns string) { nettest.IptablesLegacy(t, ns, strings.Fields(rule)...) }
	}
	for name, c := range map[string]struct {
		do   func(*testing.T, string)
		want path.Tristate
	}{
		"no rule":                  {func(*testing.T, string) {}, path.No},
		"its rule":                 {dnat("10.11.0.1"), path.Yes},
		"another's rule":           {dnat("10.11.0.2"), path.No},
		"its rule, legacy":         {legacy("-t nat -A PREROUTING -i eth0 -d 10.11.0.1 -j DNAT --to-destination 169.254.0.21"), path.Yes},
		"another's, legacy":        {legacy("-t nat -A PREROUTING -i eth0 -d 10.11.0.2 -j DNAT --to-destination 169.254.0.21"), path.No},
		"nobody knows whether its": {legacy("-t nat -A PREROUTING -m statistic --mode random --probability 0.5 -j DNAT --to-destination 169.254.0.21"), path.Unknown},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns := nettest.Netns(t)
			c.do(t, ns)
			r, err := ReadRules(ns, nil, []Packet{toHost})
			if err != nil || r.Translates != c.want {
				t.Errorf("got %s, %v, want %s", r.Translates, err, c.want)
			}
		})
	}
}
