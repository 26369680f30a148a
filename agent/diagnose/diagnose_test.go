package diagnose

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"tapwatch/agent/path"
	"tapwatch/internal/registry"
)

// summary is a diagnosis in one line: its state, then the hops', then the codes.
func summary(d path.Diagnosis) string {
	var hops, codes []string
	for _, h := range d.Hops {
		hops = append(hops, string(h.State))
	}
	for _, f := range d.Findings {
		codes = append(codes, f.Code)
	}
	return fmt.Sprintf("%s: %s [%s]", d.State, strings.Join(hops, " "), strings.Join(codes, " "))
}

func TestRun(t *testing.T) {
	idle := func(f *path.Facts) { f.Sandbox = nil }
	for _, tt := range []struct {
		name  string
		facts path.Facts
		want  string
	}{
		{"healthy", healthy(), "ok: ok ok ok ok ok []"},
		{"fused, without the hop that it does not have", changed(relayGone, shape(registry.Fused)), "ok: ok ok ok ok []"},
		{"fused, a rule drops", changed(relayGone, shape(registry.Fused), func(f *path.Facts) { f.Rules.Drops = []string{"one"} }), "broken: ok broken ok ok [rule-drops]"},
		{"dnat, broken", changed(relayGone, shape(registry.DNAT), vmmDead), "broken: ok ok broken unknown unknown [vmm-exited]"},
		{"healthy, still called booting", changed(booting), "ok: ok ok ok ok ok []"},
		{"idle", changed(neverAttached, noHooks, idle), "idle:  []"},
		{"idle, whatever else is known", changed(tapGone, proxyGone, idle), "idle:  []"},
		{"one cause, not its consequences", changed(vmmDead, guestMute), "broken: ok ok broken unknown unknown [vmm-exited]"},
		{"of the tap's faults the first", changed(vmmDead, tapIsDown), "broken: ok ok broken unknown unknown [tap-down]"},
		{"nothing behind the break is ok", changed(noCarrierThere), "broken: ok ok broken unknown unknown [vmm-not-attached]"},
		{"a silent guest", changed(guestMute), "broken: ok ok ok broken unknown [guest-silent]"},
		{"causes apart from each other", changed(proxyGone, relayGone, portClosed), "broken: broken broken ok ok broken [proxy-not-listening relay-not-listening envd-refused]"},
		{"unknown is worse than ok", changed(noHooks), "unknown: ok ok ok unknown unknown []"},
		{"booting is worse than unknown", changed(neverAttached, noHooks, booting), "booting: ok ok booting unknown unknown []"},
		{"broken is worse than booting", changed(vmmDead, relayGone, booting), "broken: ok booting broken unknown unknown [vmm-exited]"},
		{"an excused problem hides its consequences too", changed(neverAttached, guestMute, booting), "booting: ok ok booting unknown unknown []"},
		{"nothing known", path.Facts{Sandbox: &path.Sandbox{}}, "unknown: unknown unknown unknown unknown unknown []"},
		{"nothing known, booting", path.Facts{Sandbox: &path.Sandbox{Booting: true}}, "unknown: unknown unknown unknown unknown unknown []"},
		{"hooks that saw nothing", path.Facts{Now: now, Sandbox: &path.Sandbox{}, Traffic: &path.Traffic{}}, "unknown: unknown unknown unknown unknown unknown []"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := Run(tt.facts)
			if got := summary(d); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if d.Hops == nil || d.Findings == nil {
				t.Error("JSON would say null where there are none")
			}
		})
	}
}

func TestHopsSayWhatWasSeen(t *testing.T) {
	want := []path.HopState{
		{Hop: path.Proxy, State: path.OK, Detail: "listens"},
		{Hop: path.Relay, State: path.OK, Detail: "listens"},
		{Hop: path.Tap, State: path.Broken, Detail: "NO-CARRIER: the VMM has exited, so nobody holds tap0"},
		{Hop: path.Guest, State: path.Undecided, Detail: "not checked: the path is already broken at the tap"},
		{Hop: path.Envd, State: path.Undecided, Detail: "not checked: the path is already broken at the tap"},
	}
	d := Run(changed(vmmDead))
	if !slices.Equal(d.Hops, want) {
		t.Errorf("got  %+v\nwant %+v", d.Hops, want)
	}
	if at := d.BrokenAt(); at != path.Tap {
		t.Errorf("broken at %q, want tap", at)
	}
}

// TestOneFactTakenAway holds that no single unknown makes a fault or hides that
// something is not known: from the healthy path the state goes to unknown or,
// where the fact is not needed, stays ok.
func TestOneFactTakenAway(t *testing.T) {
	for name, tt := range map[string]struct {
		take func(*path.Facts)
		want path.State
	}{
		"proxy":     {func(f *path.Facts) { f.Proxy = path.Listener{} }, path.Undecided},
		"relay":     {func(f *path.Facts) { f.Relay = path.Listener{} }, path.Undecided},
		"shape":     {func(f *path.Facts) { f.Sandbox.Shape = "" }, path.OK},
		"vmm":       {func(f *path.Facts) { f.Sandbox.VMMAlive, f.Sandbox.VMMPID = path.Unknown, 0 }, path.OK},
		"exists":    {func(f *path.Facts) { f.Device.Exists = path.Unknown }, path.Undecided},
		"admin up":  {func(f *path.Facts) { f.Device.AdminUp = path.Unknown }, path.Undecided},
		"carrier":   {func(f *path.Facts) { f.Device.Carrier = path.Unknown }, path.Undecided},
		"holders":   {func(f *path.Facts) { f.Device.Holders = nil }, path.OK},
		"operstate": {func(f *path.Facts) { f.Device.Operstate = "" }, path.OK},
		"traffic":   {noHooks, path.Undecided},
		"frames":    {func(f *path.Facts) { *f.Traffic = path.Traffic{} }, path.Undecided},
	} {
		t.Run(name, func(t *testing.T) {
			if d := Run(changed(tt.take)); d.State != tt.want || len(d.Findings) != 0 {
				t.Errorf("got %s, want %s and no finding", summary(d), tt.want)
			}
		})
	}
}

func TestChecksAreInOrder(t *testing.T) {
	code := regexp.MustCompile(`^[a-z]+(-[a-z0-9]+)*$`)
	seen := map[string]path.Hop{}
	first := map[string]bool{} // are looked for before all others; of every check there is
	for _, c := range Checks {
		first[c.Code] = c.First
	}
	at := 0
	for _, c := range Checks {
		if !code.MatchString(c.Code) || c.Title == "" || (c.Run == nil) != (c.Hop == "") || !slices.Contains(path.Severities, c.Severity) {
			t.Errorf("check %q lacks something, or its code is no file name: %+v", c.Code, c)
		}
		if _, twice := seen[c.Code]; twice {
			t.Errorf("two checks are called %s", c.Code)
		}
		if c.Hop == "" { // where it is, requests show
			continue
		}
		hop := slices.Index(path.Hops, c.Hop)
		if hop < at {
			t.Errorf("%s, of hop %s, stands behind a check of a later hop", c.Code, c.Hop)
		}
		if c.Last && c.Severity == path.Critical {
			t.Errorf("%s comes last, when the hops' states are told, and is critical", c.Code)
		}
		at = max(at, hop)
		for _, code := range c.DependsOn {
			_, known := first[code]
			if _, earlier := seen[code]; !earlier && !first[code] && (!c.Last || !known) {
				t.Errorf("%s depends on %s, which no earlier check is called", c.Code, code)
			}
		}
		seen[c.Code] = c.Hop
	}
	for _, hop := range path.Hops {
		if !slices.ContainsFunc(Checks, func(c Check) bool { return c.Hop == hop }) {
			t.Errorf("no check looks at hop %s", hop)
		}
	}
}

// TestUnidentified: a tap that a stranger holds is neither idle nor broken.
func TestUnidentified(t *testing.T) {
	stranger := func(f *path.Facts) { f.Sandbox, f.Unidentified = nil, &path.Holder{PID: 99, Command: "firecracker"} }
	for name, tt := range map[string]struct {
		facts path.Facts
		want  string
	}{
		"a stranger holds it":    {changed(stranger), "unidentified:  []"},
		"nobody holds it":        {changed(func(f *path.Facts) { f.Sandbox = nil }), "idle:  []"},
		"a sandbox is known":     {changed(func(f *path.Facts) { f.Unidentified = &path.Holder{PID: 99} }), "ok: ok ok ok ok ok []"},
		"it is just being ended": {changed(func(f *path.Facts) { f.Sandbox.Ending = true }, vmmDead), "idle:  []"},
	} {
		d := Run(tt.facts)
		if got := summary(d); got != tt.want {
			t.Errorf("%s: got %s, want %s", name, got, tt.want)
		}
		if d.Hops == nil || d.Findings == nil {
			t.Errorf("%s: JSON would say null where there are none", name)
		}
	}
}

// TestHopsOfForeignPaths: a launcher that is not known to have a proxy, a relay or envd
// has none, unless one was seen.
func TestHopsOfForeignPaths(t *testing.T) {
	libvirt := func(f *path.Facts) {
		foreignPath(f)
		f.Sandbox.Source, f.Sandbox.Foreign, f.Proxy.Expected = "libvirt", true, false
		f.Relay = path.Listener{}
		*f.Traffic = path.Traffic{ReceivePackets: 3, LastReceive: secondsAgo(2)}
	}
	for name, tt := range map[string]struct {
		facts path.Facts
		want  string
	}{
		"none was seen":                  {changed(libvirt), "ok: ok ok []"},
		"its VMM has ended":              {changed(libvirt, vmmDead), "broken: broken unknown [vmm-exited]"},
		"a proxy was seen, which is not": {changed(libvirt, func(f *path.Facts) { f.Proxy.Expected, f.Proxy.Listening = true, path.No }), "broken: broken ok ok [proxy-not-listening]"},
		"envd's port was asked":          {changed(libvirt, func(f *path.Facts) { f.Traffic.LastEnvdSYN, f.Traffic.LastEnvdRefused = secondsAgo(1), secondsAgo(1) }), "broken: ok unknown ok ok broken [envd-refused]"},
		"routed, a rule drops":           {changed(func(f *path.Facts) { f.Sandbox.Shape, f.Rules.Drops = registry.Routed, []string{"one"} }), "broken: ok broken ok ok [rule-drops]"},
	} {
		if got := summary(Run(tt.facts)); got != tt.want {
			t.Errorf("%s: got %s, want %s", name, got, tt.want)
		}
	}
}

// TestUndecided: whoever reads a diagnosis can tell a check that found nothing from one
// that could not judge.
func TestUndecided(t *testing.T) {
	withChecks(t, says("a", path.Proxy, fine("seen")), says("b", path.Relay, unsure("not read")), says("c", path.Tap, wrong(path.Finding{Cause: "c"})),
		says("d", path.Guest, fine("seen"), "c"), says("e", path.Envd, notApplicable(), "d"), says("f", path.Envd, notApplicable()))
	d := Run(healthy())
	if want := []string{"b", "d", "e"}; !slices.Equal(d.Undecided, want) {
		t.Errorf("got %v, want %v", d.Undecided, want)
	}
	if h := hopOf(t, d, path.Guest); h.Detail != "not checked: the path is already broken at the tap" {
		t.Errorf("the guest: %q", h.Detail)
	}
	if d := Run(path.Facts{}); d.Undecided != nil {
		t.Errorf("idle: %v", d.Undecided)
	}
}

// TestPassing: what only time decides is judged again though nothing happens.
func TestPassing(t *testing.T) {
	moment := func(f *path.Facts) { f.Device.Since = secondsAgo(0.4) }
	for name, tt := range map[string]struct {
		facts path.Facts
		want  bool
	}{
		"healthy":                          {healthy(), false},
		"drops that may end":               {changed(dropping("FULL_RING", 201, 0.4)), true},
		"a holder that may let go":         {changed(heldByAnother, runs, moment), true},
		"a holder that has not let go":     {changed(heldByAnother, runs), false},
		"who holds it does not matter now": {changed(tapIsDown, noTrafficYet), false},
	} {
		if got := Passing(Run(tt.facts)); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestWhyNotChecked: a hop that was not checked names the hop that hides it.
func TestWhyNotChecked(t *testing.T) {
	for name, tt := range map[string]struct {
		facts path.Facts
		hop   path.Hop
		want  string
	}{
		"behind a break":                   {changed(vmmDead), path.Envd, "not checked: the path is already broken at the tap"},
		"behind what is not up yet":        {changed(neverAttached, booting), path.Guest, "not checked: the path is not up yet at the tap"},
		"before the cause, which is known": {changed(panicked), path.Tap, "not checked: the path is broken at the guest"},
	} {
		if h := hopOf(t, Run(tt.facts), tt.hop); h.Detail != tt.want {
			t.Errorf("%s: %q, want %q", name, h.Detail, tt.want)
		}
	}
}

// withChecks makes Run know these checks only, until the test's end.
func withChecks(t *testing.T, checks ...Check) {
	t.Helper()
	all := Checks
	Checks = checks
	t.Cleanup(func() { Checks = all })
}

func says(code string, hop path.Hop, r Result, dependsOn ...string) Check {
	return Check{Code: code, Hop: hop, Severity: path.Critical, DependsOn: dependsOn, Run: func(path.Facts) Result { return r }}
}

// TestNoFaultIsNotHealth: where every check of a hop is beside the point, nobody saw it work.
func TestNoFaultIsNotHealth(t *testing.T) {
	withChecks(t, says("proxy", path.Proxy, fine("seen")), says("tap", path.Tap, notApplicable()))
	if got, want := summary(Run(healthy())), "unknown: ok unknown unknown unknown unknown []"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestConsequencesOfConsequences: a check that was left out hides those that depend on it.
func TestConsequencesOfConsequences(t *testing.T) {
	bad := wrong(path.Finding{Cause: "c"})
	withChecks(t, says("a", path.Tap, bad), says("b", path.Guest, fine("seen"), "a"), says("c", path.Envd, bad, "b"))
	if got, want := summary(Run(healthy())), "broken: unknown unknown broken unknown unknown [a]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
