package diagnose

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"tapwatch/agent/path"
	"tapwatch/internal/registry"
)

// everyFinding calls see with every finding of the pages' examples, each changed so.
func everyFinding(change func(*path.Facts), see func(example string, f path.Finding, text string)) {
	for _, code := range slices.Sorted(maps.Keys(examples)) {
		facts := examples[code]
		sandbox := *facts.Sandbox
		facts.Sandbox = &sandbox
		change(&facts)
		for _, f := range Run(facts).Findings {
			see(code, f, strings.Join(append([]string{f.Cause, f.Fix}, f.Evidence...), "\n"))
		}
	}
}

// TestCommandsInTheHostsNamespace: nothing enters a namespace that the reader is in.
func TestCommandsInTheHostsNamespace(t *testing.T) {
	n := 0
	everyFinding(onHost, func(example string, f path.Finding, text string) {
		n++
		for _, bad := range []string{"ip -n host", "netns exec host", " in host", "host has", "inside host", "links of host"} {
			if strings.Contains(text, bad) {
				t.Errorf("%s: %s says %q:\n%s", example, f.Code, bad, text)
			}
		}
	})
	if n < len(examples)/2 {
		t.Errorf("only %d findings", n)
	}
}

// TestLogsOfForeignSandboxes: our launcher has no log of what another launched.
func TestLogsOfForeignSandboxes(t *testing.T) {
	n := 0
	everyFinding(func(f *path.Facts) { f.Sandbox.Foreign, f.Sandbox.Source = true, "e2b" }, func(example string, f path.Finding, text string) {
		if strings.Contains(text, "tapwatch sandbox logs") || strings.Contains(text, "tapwatch sandbox exec") {
			t.Errorf("%s: %s sends to our launcher:\n%s", example, f.Code, text)
		}
		if strings.Contains(text, "the log that its launcher, e2b, keeps") {
			n++
		}
	})
	if n < 5 {
		t.Errorf("only %d findings say where the log is", n)
	}
}

// TestNamesOfTheVethPair: the namespace's end is called as it is called.
func TestNamesOfTheVethPair(t *testing.T) {
	peer := func(name string) func(*path.Facts) { return func(f *path.Facts) { f.Veth.Peer = name } }
	tryCheck(t, dnatMissing, []look{
		{"by name", changed(untranslated, shape(registry.DNAT), peer("vpeer0")), "problem", []string{"for what comes in by vpeer0"}},
		{"not known", changed(untranslated, shape(registry.DNAT), peer("")), "problem", []string{"for what comes in by the namespace's end of the veth pair"}},
	})
	tryCheck(t, noDefaultRoute, []look{
		{"by name", changed(peer("vpeer0"), func(f *path.Facts) { f.Inside.NoDefault = path.Yes }), "problem", []string{"setting vpeer0 down and up loses it"}},
	})
}

func TestCarrierHistory(t *testing.T) {
	for _, tt := range []struct {
		ups, downs uint32
		want       string
	}{{0, 1, "it never had carrier since it was created"}, {1, 2, "carrier came once and went twice"}, {12, 3, "carrier came 12 times and went 3 times"}} {
		f := changed(vmmDead, func(f *path.Facts) { f.Device.Ups, f.Device.Downs = tt.ups, tt.downs })
		if got := carrierEvidence(f)[0]; !strings.HasSuffix(got, "; "+tt.want) {
			t.Errorf("got %q, want it to end with %q", got, tt.want)
		}
	}
}

// TestWhatKindOfVMM: only a Firecracker puts a header before each frame.
func TestWhatKindOfVMM(t *testing.T) {
	for name, tt := range map[string]struct {
		sandbox path.Sandbox
		want    bool
	}{
		"by its process":          {path.Sandbox{VMMCommand: "firecracker-v1.1"}, true},
		"by its API":              {path.Sandbox{VMMCommand: "vmm", API: &path.VMMAPI{}}, true},
		"by the rule":             {path.Sandbox{Source: "firecracker"}, true},
		"another VMM under Nomad": {path.Sandbox{Source: "nomad", VMMCommand: "qemu-system-x86"}, false},
		"our launcher's QEMU":     {path.Sandbox{Source: "tapwatch", VMMCommand: "qemu-system-x86"}, false},
	} {
		if got := isFirecracker(path.Facts{Sandbox: &tt.sandbox}); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
