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
		want  string // as said takes it
	}{
		"an empty table":                   {[]string{"-P INPUT ACCEPT"}, ""},
		"policy":                           {[]string{"-P INPUT DROP"}, "drops: a request, by its policy"},
		"its port":                         {[]string{"-A INPUT -p tcp --dport 22 -j DROP", "-A INPUT -i eth0 -p tcp --dport 49983 -j DROP"}, "drops: by rule 2"},
		"a range of ports":                 {[]string{"-A INPUT -p tcp --dport 49000:50000 -j DROP"}, "drops: by rule 1"},
		"another port":                     {[]string{"-A INPUT -p tcp --dport 22 -j DROP"}, ""},
		"another protocol":                 {[]string{"-A INPUT -p udp -j DROP"}, ""},
		"every other protocol":             {[]string{"-A INPUT ! -p udp -j DROP"}, "drops: by rule 1"},
		"another interface":                {[]string{"-A INPUT -i tap0 -j DROP"}, ""},
		"interfaces of that beginning":     {[]string{"-A INPUT -i eth+ -j DROP"}, "drops: by rule 1"},
		"not that interface":               {[]string{"-A INPUT ! -i eth0 -j DROP"}, ""},
		"its source":                       {[]string{"-A INPUT -s 10.12.0.0/16 -j DROP"}, "drops: by rule 1"},
		"another source":                   {[]string{"-A INPUT -s 10.13.0.0/16 -j DROP"}, ""},
		"another destination":              {[]string{"-A INPUT ! -d 10.12.0.3 -j DROP"}, ""},
		"rejected":                         {[]string{"-A INPUT -j REJECT"}, "drops: by rule 1"},
		"accepted before":                  {[]string{"-P INPUT DROP", "-A INPUT -p tcp --dport 49983 -j ACCEPT"}, ""},
		"what is established alone passes": {[]string{"-P INPUT DROP", "-A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT"}, "drops: by its policy"},
		"the same, by state":               {[]string{"-P INPUT DROP", "-A INPUT -m state --state ESTABLISHED -j ACCEPT"}, "drops: by its policy"},
		"what is new":                      {[]string{"-A INPUT -m conntrack --ctstate NEW -j DROP"}, "drops: by rule 1"},
		"a match that is not judged":       {[]string{"-A INPUT -m limit --limit 5/s -j DROP"}, "partly: drops some of a request, by rule 1"},
		"perhaps accepted before":          {[]string{"-P INPUT DROP", "-A INPUT -m limit --limit 5/s -j ACCEPT"}, "partly: by its policy"},
		"with a comment":                   {[]string{"-A INPUT -m comment --comment why -j DROP"}, "drops: by rule 1"},
		"a chain that it leads to":         {[]string{"-N other", "-A other -p tcp -j DROP", "-A INPUT -j other"}, "drops: by rule 1 of another chain, from rule 1"},
		"a chain that gives it back":       {[]string{"-N other", "-A other -i eth0 -j RETURN", "-A other -j DROP", "-A INPUT -j other"}, ""},
		"a chain that it goes to":          {[]string{"-N other", "-A other -i tap0 -j DROP", "-A INPUT -g other", "-A INPUT -j DROP"}, ""},
		"before all, in raw":               {[]string{"-t raw -A PREROUTING -p tcp --dport 49983 -j DROP"}, "drops: chain PREROUTING of table raw (iptables-legacy)"},
		"after all, in mangle":             {[]string{"-t mangle -A POSTROUTING -o eth0 -j DROP"}, "drops: chain POSTROUTING of table mangle (iptables-legacy) drops an answer"},
		"the answers":                      {[]string{"-A OUTPUT -o eth0 -p tcp --sport 49983 -j DROP"}, "drops: chain OUTPUT of table filter (iptables-legacy) drops an answer, by rule 1"},
		"answers, by direction":            {[]string{"-A OUTPUT -m conntrack --ctdir REPLY -j DROP"}, "drops: an answer, by rule 1"},
		"requests, by direction":           {[]string{"-A OUTPUT -m conntrack --ctdir ORIGINAL -j DROP"}, ""},
		"its user's":                       {[]string{"-A OUTPUT -m owner --uid-owner 0 -j DROP"}, "drops: an answer, by rule 1"},
		"another user's":                   {[]string{"-A OUTPUT -m owner --uid-owner 1 -j DROP"}, ""},
		"what is long":                     {[]string{"-A INPUT -m length --length 100: -j DROP"}, "drops: by rule 1"},
		"what is very long":                {[]string{"-A INPUT -m length --length 1400: -j DROP"}, "partly: by rule 1"},
		"SYNs":                             {[]string{"-A INPUT -p tcp --syn -j DROP"}, "drops: by rule 1"},
		"SYNs to another port":             {[]string{"-A INPUT -p tcp --syn --dport 22 -j DROP"}, ""},
		"all other ports":                  {[]string{"-A INPUT -p tcp ! --dport 22 -j DROP"}, "drops: by rule 1"},
		"one of its ports":                 {[]string{"-A INPUT -p tcp -m multiport --dports 22,49000:50000 -j DROP"}, "drops: by rule 1"},
		"none of its ports":                {[]string{"-A INPUT -p tcp -m multiport --dports 22,80:90 -j DROP"}, ""},
		"what is for the namespace":        {[]string{"-A INPUT -m addrtype --dst-type LOCAL -j DROP"}, "drops: by rule 1"},
		"by chance":                        {[]string{"-A INPUT -m statistic --mode random --probability 0.3 -j DROP"}, "partly: by rule 1"},
		"a mark":                           {[]string{"-A INPUT -m mark --mark 7 -j DROP"}, "not judged: chain INPUT of table filter (iptables-legacy), rule 1: match mark"},
		"perhaps accepted by a mark":       {[]string{"-A INPUT -m mark --mark 7 -j ACCEPT", "-A INPUT -j DROP"}, "not judged: rule 2, unless one before it accepts (match mark)"},
		"a mark, and all the same":         {[]string{"-A INPUT -m mark --mark 7 -j DROP", "-A INPUT -j DROP"}, "drops: by rule"},
		"marked, and let through":          {[]string{"-A INPUT -m mark --mark 7 -j ACCEPT"}, ""},
		"redirected":                       {[]string{"-t nat -A PREROUTING -p tcp --dport 49983 -j REDIRECT --to-ports 1"}, "redirects: a request to port 1 of its own, by rule 1"},
		"redirected to where it goes":      {[]string{"-t nat -A PREROUTING -p tcp -j REDIRECT --to-ports 49983"}, ""},
		"sent elsewhere":                   {[]string{"-t nat -A PREROUTING -p tcp --dport 49983 -j DNAT --to 10.9.9.9:80"}, "redirects: a request to 10.9.9.9:80, by rule 1"},
		"another's sent elsewhere":         {[]string{"-t nat -A PREROUTING -p tcp -d 10.11.0.1 -j DNAT --to 10.9.9.9:80"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns := nettest.Netns(t)
			for _, r := range c.rules {
				nettest.IptablesLegacy(t, ns, strings.Fields(r)...)
			}
			f, _, err := ReadRules(ns, toRelay.Packets(), nil)
			if err != nil {
				t.Fatal(err)
			}
			said(t, f, c.want)
		})
	}
}

// To look makes no table.
func TestLegacyLookMakesNothing(t *testing.T) {
	ns := nettest.Netns(t)
	if _, _, err := ReadRules(ns, toRelay.Packets(), nil); err != nil {
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
		t.walk(&toRelay.Packets()[0], *nftables.ChainHookInput) // comes to an end
	})
}

func TestTranslates(t *testing.T) {
	nettest.NeedRoot(t)
	toHost := Packet{What: "what comes for the sandbox", In: "eth0", Opens: true,
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
			_, is, err := ReadRules(ns, nil, []Packet{toHost})
			if err != nil || is != c.want {
				t.Errorf("got %s, %v, want %s", is, err, c.want)
			}
		})
	}
}
