// Package diagnose turns facts about a path into findings: one check a file,
// facts in, result out, no I/O.
package diagnose

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"tapwatch/agent/path"
	"tapwatch/internal/registry"
)

// Check looks at one thing that can be wrong with a path.
type Check struct {
	Code     string // names the finding and its page docs/checks/<code>.md
	Title    string
	Hop      path.Hop
	Fused    path.Hop // instead, where the path has no relay hop; "": the same
	Severity path.Severity
	// DependsOn are the checks that must not have found a problem for this one to
	// mean anything: behind a break everything looks broken.
	DependsOn []string
	// First is set where the problem lies behind whatever the path shows: it is
	// looked for before all hops, so that they can depend on it.
	First bool
	// Last is set on a warning that faults of later hops explain too: it is looked
	// for after all hops, and changes the state of none. Time alone ends it.
	Last bool
	// Fades is set where time alone may end the problem, or make it less.
	Fades bool
	// InBoot is set where a problem is one also while the sandbox is booting.
	InBoot bool
	// Inferred is set where the problem follows from what is configured, counted or said,
	// and requests may be answered all the same: then it is a warning from the first.
	Inferred bool
	// Loses is set where packets are lost: where requests are lost at its hop, that is why,
	// and where their loss was measured it is at that hop.
	Loses bool
	Run   func(path.Facts) Result

	most path.Severity // of its findings, as the operator wants it; empty: as they are
	off  bool          // the operator wants nothing of it
}

// Checks is every check, in the order of the path: causes before consequences.
var Checks = Set{
	orphaned,
	proxyWrongAddress,
	proxyNotListening,
	proxyFDLimit,
	proxyNotAccepting,
	tcpMemory,
	vethDown,
	hostRoute,
	returnRoute,
	vethNeighbour,
	vethQdisc,
	noDefaultRoute,
	noEgress,
	conntrackFull,
	relayWrongAddress,
	dnatMissing,
	relayNotListening,
	relayFDLimit,
	relayNotAccepting,
	relayNoPorts,
	ipForwardOff,
	hostRuleDrops,
	inputRoute,
	rpFilter,
	ruleDrops,
	tapElsewhere,
	tapMissing,
	tapWrongKind,
	vmmMisplaced,
	tapDown,
	vmmElsewhere,
	vmmOtherTap,
	tapBusy,
	vmmZombie,
	vmmExited,
	tapMultiQueue,
	tapOwner,
	vmmNoNIC,
	vmmNotAttached,
	noCarrier,
	tapNoVnetHdr,
	tapAddress,
	guestRoute,
	tapNoARP,
	tapQdisc,
	tapQueueFull,
	tapDrops,
	initMissing,
	initNotExecutable,
	initShebang,
	guestNoInit,
	guestPanic,
	vmmStopped,
	vmmNotStarted,
	vmmPaused,
	vmmBlocked,
	vmmStarved,
	vmmAPISilent,
	guestNoDriver,
	macChanged,
	guestMACMismatch,
	gatewayMAC,
	guestOffline,
	guestHung,
	guestSilent,
	guestNoARP,
	guestNoReply,
	mtuMismatch,
	envdMissing,
	envdNotRunnable,
	initNoCgroup2,
	cacheMetadataMissing,
	guestNoCgroup2,
	envdRefused,
	envdNoAnswer,
	envdHung,
	portRefused,
	unexplained,
	degraded,
}

// carrierFaults are the checks that explain a tap without carrier.
var carrierFaults = []string{
	"tap-elsewhere", "tap-missing", "tap-wrong-kind", "vmm-misplaced", "tap-down", "vmm-elsewhere", "vmm-other-tap", "tap-busy",
	"vmm-zombie", "vmm-exited", "vmm-no-nic", "tap-multi-queue", "tap-owner", "vmm-not-attached",
}

// tapFaults are those that explain a guest that cannot be reached.
var tapFaults = append([]string{"no-carrier", "tap-no-vnet-hdr", "tap-address", "guest-route", "tap-noarp"}, carrierFaults...)

// guestFaults are those that explain a guest which does not answer.
var guestFaults = slices.Concat([]string{"guest-no-init", "guest-panic", "vmm-stopped", "vmm-not-started", "vmm-paused", "vmm-blocked", "vmm-starved", "vmm-api-silent", "guest-no-driver", "mac-changed", "guest-mac-mismatch", "gateway-mac-mismatch", "guest-offline", "guest-hung"}, initCodes, tapFaults)

// Result is what a check says: one of ok, problem, unknown, paused or beside the point.
type Result struct {
	verdict verdict
	// detail is the words for the picture: of an ok what was seen, of another why.
	detail  string
	finding path.Finding
}

type verdict int8

const (
	beside verdict = iota // does not apply to this path
	ok
	problem
	unknown
	paused // by design: what lies behind it is not looked at
)

func fine(detail string) Result    { return Result{verdict: ok, detail: detail} }
func unsure(because string) Result { return Result{verdict: unknown, detail: because} }
func notApplicable() Result        { return Result{} }
func resting(detail string) Result { return Result{verdict: paused, detail: detail} }
func wrong(f path.Finding) Result  { return Result{verdict: problem, finding: f} }

// Run applies all checks, as Set.Run does.
func Run(f path.Facts) path.Diagnosis { return Checks.Run(f) }

// Set is checks in the order of the path.
type Set []Check

// Run applies the checks. A slot without a sandbox is idle and nothing else: its
// tap has no carrier because nobody should be attached. So is one whose sandbox is
// being removed.
func (s Set) Run(f path.Facts) path.Diagnosis { return s.RunKnowing(f, nil) }

// RunKnowing is Run where some findings are known already: by code, and since when.
func (s Set) RunKnowing(f path.Facts, known map[string]time.Time) path.Diagnosis {
	if f.CloseLook == nil {
		f.CloseLook = &path.NotLooked
	}
	if f.Sandbox == nil || f.Sandbox.Ending {
		if f.Unidentified != nil {
			return path.Diagnosis{State: path.Unidentified, Hops: []path.HopState{}, Findings: []path.Finding{}}
		}
		return path.Diagnosis{State: path.Empty(&f.Device), Hops: []path.HopState{}, Findings: []path.Finding{}}
	}
	d := path.Diagnosis{State: path.OK, Findings: []path.Finding{}}
	found := map[string]bool{} // codes of problems, and of checks behind one
	j := judging{set: s, f: f, known: known, found: found, passed: map[string]bool{}, d: &d}
	for _, c := range s {
		switch {
		case c.off: // nobody knows, so what it found before is not cleared
			d.Undecided = append(d.Undecided, c.Code)
		case c.First && c.Run(f).verdict == problem:
			found[c.Code] = true
		}
	}
	for _, hop := range f.Hops() {
		h := j.hop(hop)
		d.Hops = append(d.Hops, h)
		d.State = worse(d.State, h.State)
	}
	s.warnLast(f, found, &d)
	j.follow()
	return d
}

// judging is one run of the checks.
type judging struct {
	set    Set
	f      path.Facts
	known  map[string]time.Time // findings that were there before, by code, and since when
	found  map[string]bool      // codes of problems, and of checks behind one
	passed map[string]bool      // codes of problems that requests pass all the same
	d      *path.Diagnosis
}

// hop gives a hop the worst that its checks say.
func (j *judging) hop(hop path.Hop) path.HopState {
	f, found, d := j.f, j.found, j.d
	h := path.HopState{Hop: hop, State: path.OK}
	var seen []string
	for _, c := range j.set {
		if c.off || c.Last || c.at(f) != hop {
			continue
		}
		if c.behind(found) {
			found[c.Code] = true
			d.Undecided = append(d.Undecided, c.Code)
			h.State, h.Detail = worseHop(h, path.Undecided, j.set.notChecked(d, found))
			continue
		}
		r := c.Run(f)
		if r.verdict == problem && c.behind(j.passed) {
			j.passed[c.Code] = true
			continue
		}
		switch r.verdict {
		case ok:
			seen = append(seen, r.detail)
		case unknown:
			d.Undecided = append(d.Undecided, c.Code)
			h.State, h.Detail = worseHop(h, path.Undecided, r.detail)
		case paused:
			found[c.Code] = true
			h.State, h.Detail = worseHop(h, path.Paused, r.detail)
		case problem:
			found[c.Code] = true
			if f.Sandbox.Booting && !c.InBoot {
				d.Undecided = append(d.Undecided, c.Code)
				h.State, h.Detail = worseHop(h, path.Booting, r.finding.Cause)
				continue
			}
			finding := c.named(r.finding, hop)
			if finding.Severity == path.Critical && passes(f, c, hop, j.known[c.Code]) {
				finding.Severity, j.passed[c.Code] = path.Warning, true
				finding.Evidence = append(slices.Clone(finding.Evidence), "requests are answered all the same, the last one "+ago(f.Now, lastGood(f)))
			}
			d.Findings = append(d.Findings, finding)
			if finding.Severity != path.Critical { // requests get through, so the hop is not broken
				found[c.Code] = false
				continue
			}
			h.State, h.Detail = worseHop(h, path.Broken, r.finding.Cause)
		}
	}
	switch {
	case h.State != path.OK:
	case len(seen) == 0: // no check found fault, but none saw it work either
		h.State, h.Detail = path.Undecided, "nothing is known of it"
	default:
		h.Detail = strings.Join(seen, ", ")
	}
	return h
}

// notChecked says why a check behind another's cause is not run.
func (s Set) notChecked(d *path.Diagnosis, found map[string]bool) string {
	for _, h := range d.Hops {
		switch h.State {
		case path.Broken:
			return "not checked: the path is already broken at the " + string(h.Hop)
		case path.Booting:
			return "not checked: the path is not up yet at the " + string(h.Hop)
		case path.Paused:
			return "not checked: the VM is paused"
		}
	}
	for _, c := range s {
		if c.First && found[c.Code] {
			return "not checked: the path is broken at the " + string(c.Hop)
		}
	}
	return "not checked: a cause of it is known"
}

// warnLast runs the checks that faults of any hop may explain.
func (s Set) warnLast(f path.Facts, found map[string]bool, d *path.Diagnosis) {
	for _, c := range s {
		if !c.Last || c.off {
			continue
		}
		if c.behind(found) || f.Sandbox.Booting {
			d.Undecided = append(d.Undecided, c.Code)
			continue
		}
		switch r := c.Run(f); r.verdict {
		case problem:
			d.Findings = append(d.Findings, c.named(r.finding, c.at(f)))
		case unknown:
			d.Undecided = append(d.Undecided, c.Code)
		}
	}
}

// Passing says whether time alone may end one of the findings, or bring one.
func Passing(d path.Diagnosis) bool {
	if d.State != path.Broken && slices.Contains(d.Undecided, tapBusy.Code) {
		return true // a holder that may let go in a moment
	}
	return slices.ContainsFunc(Checks, func(c Check) bool {
		return (c.Last || c.Fades) && slices.ContainsFunc(d.Findings, func(f path.Finding) bool { return f.Code == c.Code })
	})
}

// behind says whether a problem was found that explains what this check looks at.
func (c Check) behind(found map[string]bool) bool {
	return slices.ContainsFunc(c.DependsOn, func(code string) bool { return found[code] })
}

// named is a finding of this check.
func (c Check) named(f path.Finding, hop path.Hop) path.Finding {
	f.Code, f.Hop, f.Severity = c.Code, hop, cmp.Or(f.Severity, c.Severity).AtMost(c.most)
	return f
}

// at is the hop that a check belongs to in that path.
func (c Check) at(f path.Facts) path.Hop {
	shape := f.Sandbox.Shape
	if c.Fused != "" && (f.Host || shape == registry.Fused || shape == registry.Routed) {
		return c.Fused
	}
	return c.Hop
}

// worseHop keeps the first detail of the worst state.
func worseHop(h path.HopState, s path.State, detail string) (path.State, string) {
	if rank(s) > rank(h.State) {
		return s, detail
	}
	return h.State, h.Detail
}

func worse(a, b path.State) path.State {
	if rank(b) > rank(a) {
		return b
	}
	return a
}

func rank(s path.State) int {
	return slices.Index([]path.State{path.OK, path.Undecided, path.Paused, path.Booting, path.Broken}, s)
}
