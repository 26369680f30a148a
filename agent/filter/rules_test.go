package filter

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"tapwatch/agent/path"
	"tapwatch/internal/nettest"
)

var (
	root    = uint32(0)
	toRelay = Exchange{Asks: "a request", Answers: "an answer", In: "eth0", User: &root,
		From: netip.MustParseAddrPort("10.12.0.2:0"), To: netip.MustParseAddrPort("10.12.0.3:49983")}
)

// said compares what the rules do with what is wanted: nothing, or "drops: ...",
// "redirects: ...", "partly: ..." or "not judged: ..." with a part of the one text that
// is there.
func said(t *testing.T, f path.Filters, want string) {
	t.Helper()
	var got []string
	for what, list := range map[string][]string{"drops": f.Drops, "redirects": f.Redirects, "partly": f.Partly, "not judged": f.NotJudged} {
		for _, text := range list {
			got = append(got, what+": "+text)
		}
	}
	if want == "" && len(got) == 0 {
		return
	}
	kind, part, _ := strings.Cut(want, ": ")
	if len(got) != 1 || !strings.HasPrefix(got[0], kind+": ") || !strings.Contains(got[0], part) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Expressions as nft makes them.
var (
	drop   = []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}}
	accept = []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}}
	tcp    = []expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}}}

	established = []expr.Any{&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: []byte{ctEstablished, 0, 0, 0}, Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)}}
	limit = []expr.Any{&expr.Limit{Type: expr.LimitTypePkts, Rate: 10, Unit: expr.LimitTimeSecond, Burst: 5}}
)

func rules(parts ...[]expr.Any) []expr.Any { return slices.Concat(parts...) }

func portIs(at uint32, p uint16) []expr.Any {
	return slices.Concat(tcp, []expr.Any{&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: at, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{byte(p >> 8), byte(p)}}})
}

func toPort(p uint16) []expr.Any   { return portIs(2, p) }
func fromPort(p uint16) []expr.Any { return portIs(0, p) }

func on(key expr.MetaKey, name string) []expr.Any {
	return []expr.Any{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: ifname(name)}}
}

// meta compares a number that the machine has in its own order.
func meta(key expr.MetaKey, op expr.CmpOp, n uint32) []expr.Any {
	load := &expr.Meta{Key: key, Register: 1}
	if op == expr.CmpOpEq {
		return []expr.Any{load, &expr.Cmp{Op: op, Register: 1, Data: binary.NativeEndian.AppendUint32(nil, n)}}
	}
	return []expr.Any{load, &expr.Byteorder{SourceRegister: 1, DestRegister: 1, Op: expr.ByteorderHton, Len: 4, Size: 4},
		&expr.Cmp{Op: op, Register: 1, Data: binary.BigEndian.AppendUint32(nil, n)}}
}

func ctDirection(d byte) []expr.Any {
	return []expr.Any{&expr.Ct{Key: expr.CtKeyDIRECTION, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{d}}}
}

func leadTo(kind expr.VerdictKind) []expr.Any {
	return []expr.Any{&expr.Verdict{Kind: kind, Chain: "other"}}
}

// base is a chain of a table of a family, with its rules, and the rules of another that
// it may lead to.
type base struct {
	family   nftables.TableFamily
	hook     *nftables.ChainHook
	priority *nftables.ChainPriority
	kind     nftables.ChainType
	device   string
	policy   nftables.ChainPolicy
	rules    [][]expr.Any
	other    [][]expr.Any
}

func (b base) make(t *testing.T, ns string) {
	t.Helper()
	nettest.In(t, ns, func() error {
		conn, err := nftables.New()
		if err != nil {
			return err
		}
		if b.kind == "" {
			b.kind = nftables.ChainTypeFilter
		}
		if b.priority == nil {
			b.priority = nftables.ChainPriorityFilter
		}
		if b.family == 0 {
			b.family = nftables.TableFamilyINet
		}
		table := conn.AddTable(&nftables.Table{Family: b.family, Name: "some"})
		other := conn.AddChain(&nftables.Chain{Name: "other", Table: table})
		for _, r := range b.other {
			conn.AddRule(&nftables.Rule{Table: table, Chain: other, Exprs: r})
		}
		chain := conn.AddChain(&nftables.Chain{Name: "one", Table: table, Type: b.kind, Hooknum: b.hook, Priority: b.priority, Policy: &b.policy, Device: b.device})
		for _, r := range b.rules {
			conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: r})
		}
		return conn.Flush()
	})
}

// Rules as nft makes them, in a real namespace.
func TestJudge(t *testing.T) {
	nettest.NeedRoot(t)
	in, out := nftables.ChainHookInput, nftables.ChainHookOutput
	const accepts, drops = nftables.ChainPolicyAccept, nftables.ChainPolicyDrop
	r := func(rules ...[]expr.Any) [][]expr.Any { return rules }
	nat := func(to ...expr.Any) base {
		return base{hook: nftables.ChainHookPrerouting, priority: nftables.ChainPriorityNATDest, kind: nftables.ChainTypeNAT, policy: accepts, rules: r(rules(toPort(49983), to))}
	}
	destination := func(a string) []expr.Any {
		return []expr.Any{&expr.Immediate{Register: 1, Data: netip.MustParseAddr(a).AsSlice()}, &expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1}}
	}
	for name, c := range map[string]struct {
		base
		want string
	}{
		"nothing":                    {base{hook: in, policy: accepts}, ""},
		"policy":                     {base{hook: in, policy: drops}, "drops: chain one of table inet some drops a request, by its policy"},
		"all":                        {base{hook: in, policy: accepts, rules: r(drop)}, "drops: chain one of table inet some drops a request, by rule 1"},
		"its port":                   {base{hook: in, policy: accepts, rules: r(rules(toPort(22), drop), rules(toPort(49983), drop))}, "drops: by rule 2"},
		"rejected":                   {base{hook: in, policy: accepts, rules: r(rules(tcp, []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_TCP_RST}}))}, "drops: by rule 1"},
		"another port":               {base{hook: in, policy: accepts, rules: r(rules(toPort(22), drop))}, ""},
		"accepted before":            {base{hook: in, policy: drops, rules: r(rules(toPort(49983), accept))}, ""},
		"another device":             {base{hook: in, policy: accepts, rules: r(rules(on(expr.MetaKeyIIFNAME, "tap0"), drop))}, ""},
		"its device":                 {base{hook: in, policy: accepts, rules: r(rules(on(expr.MetaKeyIIFNAME, "eth0"), drop))}, "drops: by rule 1"},
		"what is established":        {base{hook: in, policy: accepts, rules: r(rules(established, drop))}, "drops: by rule 1"},
		"all but established":        {base{hook: in, policy: drops, rules: r(rules(established, accept))}, "drops: by its policy"},
		"what is past a rate":        {base{hook: in, policy: accepts, rules: r(rules(limit, drop))}, "partly: drops some of a request, by rule 1"},
		"what is within a rate":      {base{hook: in, policy: drops, rules: r(rules(limit, accept))}, "partly: drops some of a request, by its policy"},
		"by chance":                  {base{hook: in, policy: accepts, rules: r(rules([]expr.Any{&expr.Numgen{Register: 1, Modulus: 100, Type: unix.NFT_NG_RANDOM}, &expr.Byteorder{SourceRegister: 1, DestRegister: 1, Op: expr.ByteorderHton, Len: 4, Size: 4}, &expr.Cmp{Op: expr.CmpOpLt, Register: 1, Data: []byte{0, 0, 0, 30}}}, drop))}, "partly: by rule 1"},
		"within a quota":             {base{hook: in, policy: accepts, rules: r(rules([]expr.Any{&expr.Quota{Bytes: 1 << 40, Over: true}}, drop))}, ""},
		"a chain":                    {base{hook: in, policy: accepts, rules: r(leadTo(expr.VerdictJump)), other: r(drop)}, "drops: of chain other, from rule 1 (handle "},
		"a chain that gives it back": {base{hook: in, policy: drops, rules: r(leadTo(expr.VerdictJump), accept)}, ""},
		"a chain that it goes to":    {base{hook: in, policy: drops, rules: r(leadTo(expr.VerdictGoto), accept)}, "drops: by its policy"},
		"a mark":                     {base{hook: in, policy: accepts, rules: r(rules(meta(expr.MetaKeyMARK, expr.CmpOpEq, 7), drop))}, "not judged: chain one of table inet some, rule 1 (handle "},
		"a mark that accepts":        {base{hook: in, policy: drops, rules: r(rules(meta(expr.MetaKeyMARK, expr.CmpOpEq, 7), accept))}, "not judged: its policy, unless a rule before it accepts"},
		"a mark of no matter":        {base{hook: in, policy: accepts, rules: r(rules(meta(expr.MetaKeyMARK, expr.CmpOpEq, 7), accept))}, ""},
		"a mark, by a chain":         {base{hook: in, policy: accepts, rules: r(rules(meta(expr.MetaKeyMARK, expr.CmpOpEq, 7), leadTo(expr.VerdictJump))), other: r(drop)}, "not judged: of chain other, from rule 1 (handle "},
		"a mark, another port":       {base{hook: in, policy: accepts, rules: r(rules(toPort(22), meta(expr.MetaKeyMARK, expr.CmpOpEq, 7), drop))}, ""},
		"given a mark":               {base{hook: in, policy: accepts, rules: r([]expr.Any{&expr.Immediate{Register: 1, Data: []byte{7, 0, 0, 0}}, &expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: 1}})}, ""},
		"loopback alone, by number":  {base{hook: in, policy: drops, rules: r(rules(meta(expr.MetaKeyIIF, expr.CmpOpEq, 1), accept))}, "drops: by its policy"},

		"answers, by direction":      {base{hook: out, policy: accepts, rules: r(rules(ctDirection(1), drop))}, "drops: chain one of table inet some drops an answer, by rule 1"},
		"requests, by direction":     {base{hook: out, policy: accepts, rules: r(rules(ctDirection(0), drop))}, ""},
		"what is long":               {base{hook: in, policy: accepts, rules: r(rules(meta(expr.MetaKeyLEN, expr.CmpOpGt, 100), drop))}, "drops: by rule 1"},
		"what is very long":          {base{hook: in, policy: accepts, rules: r(rules(meta(expr.MetaKeyLEN, expr.CmpOpGt, 1400), drop))}, "partly: by rule 1"},
		"what is very short":         {base{hook: in, policy: accepts, rules: r(rules(meta(expr.MetaKeyLEN, expr.CmpOpLt, 40), drop))}, ""},
		"of one length":              {base{hook: in, policy: accepts, rules: r(rules(meta(expr.MetaKeyLEN, expr.CmpOpEq, 30), drop))}, ""},
		"its user's":                 {base{hook: out, policy: accepts, rules: r(rules(meta(expr.MetaKeySKUID, expr.CmpOpEq, 0), drop))}, "drops: an answer, by rule 1"},
		"another user's":             {base{hook: out, policy: accepts, rules: r(rules(meta(expr.MetaKeySKUID, expr.CmpOpEq, 1), drop))}, ""},
		"a group's":                  {base{hook: out, policy: accepts, rules: r(rules(meta(expr.MetaKeySKGID, expr.CmpOpEq, 1), drop))}, "not judged: ): the socket's owner"},
		"clients' ports":             {base{hook: out, policy: drops, rules: r(rules(tcp, []expr.Any{&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}, &expr.Cmp{Op: expr.CmpOpGte, Register: 1, Data: []byte{4, 0}}}, accept))}, ""},
		"raw":                        {base{hook: nftables.ChainHookPrerouting, priority: nftables.ChainPriorityRaw, policy: accepts, rules: r(rules(on(expr.MetaKeyIIFNAME, "eth0"), toPort(49983), drop))}, "drops: a request, by rule 1"},
		"raw, where no state is":     {base{hook: nftables.ChainHookPrerouting, priority: nftables.ChainPriorityRaw, policy: accepts, rules: r(rules(established, drop))}, ""},
		"postrouting":                {base{hook: nftables.ChainHookPostrouting, policy: accepts, rules: r(rules(on(expr.MetaKeyOIFNAME, "eth0"), fromPort(49983), drop))}, "drops: an answer, by rule 1"},
		"forward, which is not it":   {base{hook: nftables.ChainHookForward, policy: drops}, ""},
		"IPv6 alone":                 {base{family: nftables.TableFamilyIPv6, hook: in, policy: drops}, ""},
		"redirected":                 {nat(&expr.Immediate{Register: 1, Data: []byte{0, 1}}, &expr.Redir{RegisterProtoMin: 1}), "redirects: a request to port 1 of its own, by rule 1"},
		"redirected to where it was": {nat(&expr.Immediate{Register: 1, Data: []byte{0xc3, 0x3f}}, &expr.Redir{RegisterProtoMin: 1}), ""},
		"sent elsewhere":             {nat(destination("10.9.9.9")...), "redirects: a request to 10.9.9.9:49983, by rule 1"},
		"sent to where it goes":      {nat(destination("10.12.0.3")...), ""},

		"a device, coming in":       {base{family: nftables.TableFamilyNetdev, hook: nftables.ChainHookIngress, device: "eth0", policy: accepts, rules: r(rules(toPort(49983), drop))}, "drops: a request, by rule 1"},
		"a device, coming in, inet": {base{hook: nftables.ChainHookRef(inetIngress), device: "eth0", policy: accepts, rules: r(rules(toPort(49983), drop))}, "drops: a request, by rule 1"},
		"a device, going out":       {base{family: nftables.TableFamilyNetdev, hook: nftables.ChainHookEgress, device: "eth0", policy: accepts, rules: r(rules(fromPort(49983), drop))}, "drops: an answer, by rule 1"},
		"of another device":         {base{family: nftables.TableFamilyNetdev, hook: nftables.ChainHookIngress, device: "lo", policy: accepts, rules: r(drop)}, ""},
		"a device, only TCP":        {base{family: nftables.TableFamilyNetdev, hook: nftables.ChainHookIngress, device: "eth0", policy: accepts, rules: r(rules([]expr.Any{&expr.Meta{Key: expr.MetaKeyPROTOCOL, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{8, 0}}}, tcp, drop))}, "drops: a request, by rule 1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns := nettest.Netns(t)
			nettest.Tap(t, ns, "eth0")
			c.make(t, ns)
			f, _, err := ReadRules(ns, toRelay.Packets(), nil)
			if err != nil {
				t.Fatal(err)
			}
			said(t, f, c.want)
		})
	}
	if _, _, err := ReadRules(nettest.RandomName("none"), nil, nil); err == nil {
		t.Error("no namespace, and no error")
	}
}

// The packets of a path whose namespace gives them the guest's address (DNAT).
func TestJudgeForwarded(t *testing.T) {
	nettest.NeedRoot(t)
	passes := Exchange{Asks: "a request", Answers: "an answer", In: "eth0", Out: "tap0", From: netip.MustParseAddrPort("10.12.0.2:0"),
		To: netip.MustParseAddrPort("169.254.0.21:49983"), Public: netip.MustParseAddrPort("10.11.0.7:49983")}
	addr := func(at uint32, a string) []expr.Any {
		return []expr.Any{&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: at, Len: 4}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: netip.MustParseAddr(a).AsSlice()}}
	}
	from := func(a string) []expr.Any { return addr(12, a) }
	to := func(a string) []expr.Any { return addr(16, a) }
	at := func(hook *nftables.ChainHook, priority nftables.ChainPriority, parts ...[]expr.Any) base {
		return base{family: nftables.TableFamilyIPv4, hook: hook, priority: &priority, policy: nftables.ChainPolicyAccept, rules: [][]expr.Any{rules(append(parts, drop)...)}}
	}
	pre, fwd, post := nftables.ChainHookPrerouting, nftables.ChainHookForward, nftables.ChainHookPostrouting
	for name, c := range map[string]struct {
		base
		want string
	}{
		"answers, by direction":             {at(fwd, 0, ctDirection(1)), "drops: an answer, by rule 1"},
		"its destination":                   {at(fwd, 0, to("169.254.0.21")), "drops: a request, by rule 1"},
		"the destination that it had":       {at(fwd, 0, to("10.11.0.7")), ""},
		"before it is changed":              {at(pre, -300, to("10.11.0.7")), "drops: a request, by rule 1"},
		"before it is changed, the guest's": {at(pre, -300, to("169.254.0.21")), ""},
		"after it was changed":              {at(pre, 0, to("169.254.0.21")), "drops: a request, by rule 1"},
		"the answer's source":               {at(post, 0, from("169.254.0.21")), "drops: an answer, by rule 1"},
		"the answer's, changed back":        {at(post, 300, from("10.11.0.7")), "drops: an answer, by rule 1"},
		"from the tap, before all":          {at(pre, -300, on(expr.MetaKeyIIFNAME, "tap0"), fromPort(49983)), "drops: an answer, by rule 1"},
		"what comes in":                     {at(nftables.ChainHookInput, 0), ""},
		"a socket's":                        {at(fwd, 0, meta(expr.MetaKeySKUID, expr.CmpOpEq, 0)), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns := nettest.Netns(t)
			c.make(t, ns)
			f, _, err := ReadRules(ns, passes.Packets(), nil)
			if err != nil {
				t.Fatal(err)
			}
			said(t, f, c.want)
		})
	}
}

// Families that see ARP, and ports of bridges.
func TestJudgeLinks(t *testing.T) {
	nettest.NeedRoot(t)
	guest, own := netip.MustParseAddr("169.254.0.21"), netip.MustParseAddr("169.254.0.22")
	operation := func(n byte) []expr.Any {
		return []expr.Any{&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 6, Len: 2}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{0, n}}}
	}
	ethertype := func(n uint16) []expr.Any {
		return []expr.Any{&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseLLHeader, Offset: 12, Len: 2}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.BigEndian.AppendUint16(nil, n)}}
	}
	at := func(family nftables.TableFamily, hook nftables.ChainHook, device string, parts ...[]expr.Any) base {
		return base{family: family, hook: &hook, device: device, policy: nftables.ChainPolicyAccept, rules: [][]expr.Any{rules(append(parts, drop)...)}}
	}
	const arp, netdev, bridge = nftables.TableFamilyARP, nftables.TableFamilyNetdev, nftables.TableFamilyBridge
	for name, c := range map[string]struct {
		base
		port bool // the tap is a bridge's
		want string
	}{
		"answers":                {at(arp, arpIn, "", operation(2)), false, "drops: chain one of table arp some drops the ARP answers of 169.254.0.21, by rule 1"},
		"requests that come":     {at(arp, arpIn, "", operation(1)), false, ""},
		"requests":               {at(arp, arpOut, "", operation(1)), false, "drops: ARP requests for 169.254.0.21, by rule 1"},
		"ARP on the device":      {at(netdev, netdevIngress, "tap0", ethertype(unix.ETH_P_ARP)), false, "drops: the ARP answers of 169.254.0.21"},
		"IPv6 on the device":     {at(netdev, netdevIngress, "tap0", ethertype(unix.ETH_P_IPV6)), false, ""},
		"TCP on the device":      {at(netdev, netdevIngress, "tap0", tcp), false, "drops: an answer, by rule 1"},
		"a port of the bridge":   {at(bridge, 1, "", on(expr.MetaKeyIIFNAME, "tap0"), ethertype(unix.ETH_P_IP)), true, "drops: an answer, by rule 1"},
		"another port":           {at(bridge, 1, "", on(expr.MetaKeyIIFNAME, "tap9")), true, ""},
		"out by a port":          {at(bridge, 3, "", on(expr.MetaKeyOIFNAME, "tap0"), ethertype(unix.ETH_P_ARP)), true, "drops: ARP requests for 169.254.0.21, by rule 1"},
		"through the bridge":     {at(bridge, 2, ""), true, ""},
		"a bridge, and no port":  {at(bridge, 1, ""), false, ""},
		"the port's device":      {at(netdev, netdevIngress, "tap0", tcp), true, "drops: an answer, by rule 1"},
		"the bridge as a device": {at(netdev, netdevEgress, "br0", tcp), true, "drops: a request, by rule 1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns := nettest.Netns(t)
			nettest.Tap(t, ns, "tap0")
			nettest.Tap(t, ns, "br0")
			c.make(t, ns)
			device, port := "tap0", ""
			if c.port {
				device, port = "br0", "tap0"
			}
			asks := Exchange{Asks: "a request", Answers: "an answer", Out: device, OutPort: port, From: netip.AddrPortFrom(own, 0), To: netip.AddrPortFrom(guest, 49983)}
			f, _, err := ReadRules(ns, append(asks.Packets(), ARP(device, port, guest, own)...), nil)
			if err != nil {
				t.Fatal(err)
			}
			said(t, f, c.want)
		})
	}
}

// What is not judged is said, and what it would decide is not.
func TestCourse(t *testing.T) {
	type step struct {
		takes answer
		kind  kind
	}
	for name, c := range map[string]struct {
		steps                   []step
		drops, accepts, through answer
	}{
		"nothing":                         {nil, no, no, yes},
		"surely":                          {[]step{{yes, drops}}, yes, no, no},
		"perhaps":                         {[]step{{perhaps, drops}}, perhaps, no, perhaps},
		"some":                            {[]step{{sometimes, drops}}, sometimes, no, sometimes},
		"perhaps accepted before":         {[]step{{perhaps, accepts}, {yes, drops}}, perhaps, perhaps, no},
		"some accepted before":            {[]step{{sometimes, accepts}, {yes, drops}}, sometimes, sometimes, no},
		"surely accepted before":          {[]step{{yes, accepts}, {yes, drops}}, no, yes, no},
		"some of what perhaps comes":      {[]step{{perhaps, accepts}, {sometimes, drops}}, perhaps, perhaps, perhaps},
		"some, or dropped before":         {[]step{{perhaps, drops}, {sometimes, drops}}, sometimes, no, perhaps},
		"all, or dropped before":          {[]step{{perhaps, drops}, {yes, drops}}, yes, no, no},
		"anything":                        {[]step{{yes, anything}}, perhaps, perhaps, perhaps},
		"not taken":                       {[]step{{no, drops}, {no, anything}}, no, no, yes},
		"given back, and dropped no more": {[]step{{yes, returns}, {yes, drops}}, no, no, yes},
	} {
		follow := newCourse()
		for _, s := range c.steps {
			follow.rule(s.takes, "why", "by rule 1", verdict{kind: s.kind}, nil)
		}
		if f := follow.ends(); f.drops != c.drops || f.accepts != c.accepts || f.through != c.through {
			t.Errorf("%s: drops %d, accepts %d, through %d", name, f.drops, f.accepts, f.through)
		}
	}
}

// A quota takes packets as long as it lasts, or from then on.
func TestQuota(t *testing.T) {
	for _, c := range []struct {
		q    expr.Quota
		want answer
	}{
		{expr.Quota{Bytes: 100, Consumed: 20}, yes}, {expr.Quota{Bytes: 100, Consumed: 100}, no},
		{expr.Quota{Bytes: 100, Consumed: 20, Over: true}, no}, {expr.Quota{Bytes: 100, Consumed: 200, Over: true}, yes},
	} {
		m := matching{takes: yes}
		if m.statement(&c.q); m.takes != c.want {
			t.Errorf("%+v: %d, want %d", c.q, m.takes, c.want)
		}
	}
}

// An expression that is not known may do anything, one that only gives a register a
// value makes that unknown.
func TestStrangeExpressions(t *testing.T) {
	equals := &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{1}}
	for name, c := range map[string]struct {
		exprs []expr.Any
		takes answer
		kind  kind
		why   string
	}{
		"redirects by itself":              {[]expr.Any{&strange{name: "tproxy"}}, yes, anything, "tproxy"},
		"loads":                            {[]expr.Any{&strange{name: "socket"}, equals, drop[0]}, perhaps, drops, "socket"},
		"does nothing to it":               {[]expr.Any{&strange{name: "last"}, drop[0]}, yes, drops, ""},
		"changes the packet":               {[]expr.Any{&expr.Payload{OperationType: expr.PayloadWrite, SourceRegister: 1, Len: 2}}, yes, anything, "it changes the packet"},
		"a queue":                          {[]expr.Any{&expr.Verdict{Kind: expr.VerdictQueue}}, yes, anything, "queue"},
		"of a register that holds nothing": {[]expr.Any{equals, drop[0]}, perhaps, drops, "a value that is not known"},
	} {
		p := toRelay.Packets()[0]
		v, _ := p.atHook(*nftables.ChainHookInput, 0)
		m := (&Rules{}).match(&chain{}, c.exprs, &v)
		if m.takes != c.takes || m.verdict.kind != c.kind || m.why != c.why {
			t.Errorf("%s: takes %d, does %d, why %q", name, m.takes, m.verdict.kind, m.why)
		}
	}
}
