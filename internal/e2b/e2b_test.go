package e2b

import (
	"net/netip"
	"testing"
)

func TestConstantsAgree(t *testing.T) {
	if TapIP().String() != TapAddr || GuestIP().String() != GuestAddr {
		t.Errorf("%v is not %s, or %v not %s", TapIP(), TapAddr, GuestIP(), GuestAddr)
	}
}

func TestIndex(t *testing.T) {
	for _, i := range []int{1, 110, MaxIndex, 999999999} {
		if got, ok := Index(NamespaceName(i)); !ok || got != i {
			t.Errorf("%s is %d, %v", NamespaceName(i), got, ok)
		}
	}
	for _, name := range []string{"", "ns-", "ns-0", "ns-01", "ns-1x", "ns--1", "ns-1234567890", "xns-1", "ns-\u0661"} {
		if i, ok := Index(name); ok {
			t.Errorf("%q is %d", name, i)
		}
	}
}

func TestPlan(t *testing.T) {
	small := Plan{Host: netip.MustParsePrefix("10.60.0.128/30"), VRT: netip.MustParsePrefix("10.61.0.0/16")}
	for name, c := range map[string]struct {
		of   Plan
		i    int
		want string // empty: none
	}{
		"first":               {DefaultPlan(), 1, "veth-1 10.11.0.1 10.12.0.2 10.12.0.3"},
		"beyond a byte":       {DefaultPlan(), 300, "veth-300 10.11.1.44 10.12.2.88 10.12.2.89"},
		"last":                {DefaultPlan(), MaxIndex, "veth-32767 10.11.127.255 10.12.255.254 10.12.255.255"},
		"beyond the last":     {DefaultPlan(), MaxIndex + 1, ""},
		"none":                {DefaultPlan(), 0, ""},
		"negative":            {DefaultPlan(), -1, ""},
		"another":             {small, 3, "veth-3 10.60.0.131 10.61.0.6 10.61.0.7"},
		"beyond another":      {small, 4, ""},
		"a plan of nothing":   {Plan{}, 1, ""},
		"a plan of IPv6":      {Plan{Host: netip.MustParsePrefix("fd00::/16"), VRT: netip.MustParsePrefix("10.61.0.0/16")}, 1, ""},
		"all of IPv4, by far": {Plan{Host: netip.MustParsePrefix("0.0.0.0/0"), VRT: netip.MustParsePrefix("0.0.0.0/0")}, 1 << 31, ""},
	} {
		s, ok := c.of.Slot(c.i)
		got := ""
		if ok {
			got = s.HostVeth + " " + s.HostIP.String() + " " + s.VethIP.String() + " " + s.VpeerIP.String()
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
