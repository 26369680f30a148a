package drill

import (
	"os"
	"slices"
	"strings"
	"testing"

	"tapwatch/agent/diagnose"
	"tapwatch/agent/path"
)

func TestFaultsAreWhole(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range Faults() {
		if seen[f.Name] {
			t.Errorf("%s is there twice", f.Name)
		}
		seen[f.Name] = true
		if f.Name == "" || f.What == "" || !slices.Contains(path.Hops, f.Hop) {
			t.Errorf("%s does not say all: %+v", f.Name, f)
		}
		ways := 0
		for _, is := range []bool{f.fromStart(), f.Make != nil, f.Foreign != nil} {
			if is {
				ways++
			}
		}
		if ways != 1 {
			t.Errorf("%s must be there from the start, or be made, or be a foreign VMM's, one of these", f.Name)
		}
	}
}

func TestFind(t *testing.T) {
	if all, err := Find("all"); err != nil || len(all) != len(Faults()) {
		t.Errorf("all: %d faults, %v", len(all), err)
	}
	if two, err := Find("tap-down", "vmm-killed"); err != nil || len(two) != 2 || two[1].Name != "vmm-killed" {
		t.Errorf("two: %v, %v", two, err)
	}
	for _, bad := range [][]string{{"nothing"}, {"all", "tap-down"}} {
		if _, err := Find(bad...); err == nil {
			t.Errorf("%v was taken", bad)
		}
	}
}

// TestExpected: whoever reads a result must find what its code means.
func TestExpected(t *testing.T) {
	list, err := os.ReadFile("../../docs/checks/README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range Faults() {
		if !strings.Contains(string(list), "`"+f.Expected+"`") {
			t.Errorf("docs/checks/README.md does not name %s, which %s expects", f.Expected, f.Name)
		}
	}
}

// notDrilled is the checks that no fault expects, and why. The tests of their
// packages give them their facts, or make them for real.
var notDrilled = map[string]string{
	"conntrack-full":    "the table's size is the whole machine's: others would be cut off",
	"orphaned":          "the drill is the launcher: it would have to end itself",
	"tcp-memory":        "the limit is the whole host's: others would be cut off",
	"no-egress":         "the host's forwarding and rules are not the drill's to change",
	"no-carrier":        "what is left where nobody can say more: any fault that is known has its own check",
	"guest-silent":      "the built-in guest says why on its console, and is named by that",
	"guest-no-init":     "the built-in initrd finds an init, or panics by itself",
	"guest-no-cgroup2":  "the built-in kernel has cgroup2",
	"init-missing":      "a template more, for what init-not-executable shows as well",
	"envd-not-runnable": "a template more, for what envd-missing shows as well",
}

// TestEveryCheckIsDrilled: a check that nothing provokes may say nothing for ever.
func TestEveryCheckIsDrilled(t *testing.T) {
	drilled := map[string]bool{}
	for _, f := range Faults() {
		drilled[f.Expected] = true
	}
	for _, c := range diagnose.Checks {
		switch why := notDrilled[c.Code]; {
		case drilled[c.Code] && why != "":
			t.Errorf("%s is drilled, and said not to be", c.Code)
		case !drilled[c.Code] && why == "":
			t.Errorf("no fault expects %s, and nothing says why", c.Code)
		}
	}
}
