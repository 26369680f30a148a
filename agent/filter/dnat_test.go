package filter

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"tapwatch/internal/nettest"
)

func (d DNAT) String() string {
	text := fmt.Sprintf("%s:%d", d.To, d.Port)
	if d.In != "" {
		text = "in " + d.In + " " + text
	}
	if d.Of.IsValid() {
		text = "of " + d.Of.String() + " " + text
	}
	if d.Ports != AllPorts {
		text = fmt.Sprintf("ports %d-%d ", d.Ports[0], d.Ports[1]) + text
	}
	return text
}

// Rules as both kinds of iptables make them.
func TestDNATs(t *testing.T) {
	nettest.NeedRoot(t)
	for name, c := range map[string]struct {
		rules []string
		want  []string
	}{
		"none":             {nil, nil},
		"E2B's":            {[]string{"-A PREROUTING -i eth0 -d 10.11.0.202 -j DNAT --to 169.254.0.21"}, []string{"of 10.11.0.202/32 in eth0 169.254.0.21:0"}},
		"a port":           {[]string{"-A PREROUTING -p tcp --dport 80 -j DNAT --to 10.0.0.2:8080"}, []string{"ports 80-80 10.0.0.2:8080"}},
		"ports":            {[]string{"-A PREROUTING -p tcp --dport 80:90 -d 10.0.0.0/24 -j DNAT --to 10.0.0.2"}, []string{"of 10.0.0.0/24 ports 80-90 10.0.0.2:0"}},
		"a prefix of bits": {[]string{"-A PREROUTING -d 10.0.0.128/26 -j DNAT --to 10.0.0.2"}, []string{"of 10.0.0.128/26 10.0.0.2:0"}},
		"all but one":      {[]string{"-A PREROUTING ! -d 10.0.0.1 ! -i eth9 -j DNAT --to 10.0.0.2"}, []string{"10.0.0.2:0"}},
		"devices":          {[]string{"-A PREROUTING -i eth+ -j DNAT --to 10.0.0.2"}, []string{"10.0.0.2:0"}},
		"in a chain": {[]string{"-N other", "-A other -p tcp --dport 80 -j DNAT --to 10.0.0.2", "-A PREROUTING -d 10.11.0.1 -j other"},
			[]string{"of 10.11.0.1/32 ports 80-80 10.0.0.2:0"}},
		"another hook":     {[]string{"-A OUTPUT -d 10.11.0.1 -j DNAT --to 10.0.0.2"}, nil},
		"redirected":       {[]string{"-A PREROUTING -p tcp --dport 80 -j REDIRECT --to-ports 81"}, nil},
		"two":              {[]string{"-A PREROUTING -d 10.0.0.1 -j DNAT --to 10.0.0.2", "-A PREROUTING -d 10.0.0.3 -j DNAT --to 10.0.0.4"}, []string{"of 10.0.0.1/32 10.0.0.2:0", "of 10.0.0.3/32 10.0.0.4:0"}},
		"source of others": {[]string{"-A POSTROUTING -o eth0 -s 169.254.0.21 -j SNAT --to 10.11.0.1"}, nil},
	} {
		for kind, tool := range map[string]func(testing.TB, string, ...string){"nft": nettest.IptablesNFT, "legacy": nettest.IptablesLegacy} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				t.Parallel()
				ns := nettest.Netns(t)
				for _, r := range c.rules {
					tool(t, ns, append([]string{"-t", "nat"}, strings.Fields(r)...)...)
				}
				wantDNATs(t, ns, c.want)
			})
		}
	}
}

func wantDNATs(t *testing.T, ns string, want []string) {
	t.Helper()
	nettest.In(t, ns, func() error {
		list, err := DNATs()
		var got []string
		for _, d := range list {
			// The order of the words does not matter.
			words := strings.Fields(d.String())
			slices.Sort(words)
			got = append(got, strings.Join(words, " "))
		}
		for i, w := range want {
			words := strings.Fields(w)
			slices.Sort(words)
			want[i] = strings.Join(words, " ")
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		return err
	})
}

// Rules that look into maps, as launchers with many guests in one namespace make them.
func TestDNATsOfMaps(t *testing.T) {
	ns := nettest.Netns(t) // one by one: the library counts sets without a lock
	a := func(last byte) []byte { return []byte{10, 0, 0, last} }
	daddr := &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4}
	dport := &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}
	nettest.In(t, ns, func() error {
		conn, err := nftables.New()
		if err != nil {
			return err
		}
		table := conn.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "slots"})
		chain := conn.AddChain(&nftables.Chain{Name: "pre", Table: table, Type: nftables.ChainTypeNAT,
			Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityNATDest})
		add := func(exprs ...expr.Any) { conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: exprs}) }
		guests := &nftables.Set{Table: table, Name: "guests", IsMap: true, KeyType: nftables.TypeIPAddr, DataType: nftables.TypeIPAddr}
		if err := conn.AddSet(guests, []nftables.SetElement{{Key: a(1), Val: a(101)}, {Key: a(2), Val: a(102)}}); err != nil {
			return err
		}
		add(daddr, &expr.Lookup{SourceRegister: 1, DestRegister: 1, IsDestRegSet: true, SetName: guests.Name, SetID: guests.ID},
			&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1})
		addrs := &nftables.Set{Table: table, Name: "addrs", KeyType: nftables.TypeIPAddr}
		if err := conn.AddSet(addrs, []nftables.SetElement{{Key: a(3)}}); err != nil {
			return err
		}
		add(daddr, &expr.Lookup{SourceRegister: 1, SetName: addrs.Name, SetID: addrs.ID},
			&expr.Immediate{Register: 1, Data: a(103)}, &expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1})
		pairs, err := nftables.ConcatSetType(nftables.TypeIPAddr, nftables.TypeInetService)
		if err != nil {
			return err
		}
		ports := &nftables.Set{Table: table, Name: "ports", IsMap: true, KeyType: nftables.TypeInetService, DataType: pairs}
		if err := conn.AddSet(ports, []nftables.SetElement{{Key: []byte{0, 80}, Val: append(a(104), 31, 144, 0, 0)}}); err != nil {
			return err
		}
		add(dport, &expr.Lookup{SourceRegister: 1, DestRegister: 1, IsDestRegSet: true, SetName: ports.Name, SetID: ports.ID},
			&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1, RegProtoMin: 9})
		return conn.Flush()
	})
	wantDNATs(t, ns, []string{"of 10.0.0.1/32 10.0.0.101:0", "of 10.0.0.2/32 10.0.0.102:0", "of 10.0.0.3/32 10.0.0.103:0", "ports 80-80 10.0.0.104:8080"})
}

func FuzzLegacyDNATs(f *testing.F) {
	f.Add(make([]byte, 400), uint32(0))
	f.Fuzz(func(_ *testing.T, blob []byte, at uint32) {
		t := &legacy{name: "nat", valid: 31, begins: [hooks]uint32{at}, blob: blob}
		t.dnats() // comes to an end
	})
}
