package diagnose

import (
	"cmp"
	"maps"
	"os"
	"path/filepath"
	"regexp"
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

// everyLauncher is every launcher that a rule of agent/identity names, one that an
// operator's rule names, and one that nobody names.
func everyLauncher() []string {
	return append(slices.Sorted(maps.Keys(launchers)), "acme", "")
}

// launchedByOther makes a sandbox another launcher's.
func launchedByOther(source string) func(*path.Facts) {
	return func(f *path.Facts) { f.Sandbox.Foreign, f.Sandbox.Source, f.Sandbox.ID = true, source, "x y" }
}

// TestFixesForWhoeverLaunched: our launcher has nothing of what another launched, and no
// command of another's is named for ours.
func TestFixesForWhoeverLaunched(t *testing.T) {
	others := regexp.MustCompile(`\b(e2b|virsh|nomad|crictl|kata-runtime|kubectl)\b`)
	everyFinding(func(*path.Facts) {}, func(example string, f path.Finding, text string) {
		if examples[example].Sandbox.Foreign || examples[example].Sandbox.Source != "tapwatch" {
			return
		}
		if word := others.FindString(text); word != "" {
			t.Errorf("%s: %s names %s for a sandbox of ours:\n%s", example, f.Code, word, text)
		}
	})
	tapwatch := regexp.MustCompile(`tapwatch (?:sandbox|serve|up|cleanup|proxy)\b`)
	for _, source := range everyLauncher() {
		n := 0
		everyFinding(launchedByOther(source), func(example string, f path.Finding, text string) {
			if f.Code == orphaned.Code { // only a sandbox of ours has a record to outlive
				return
			}
			if command := tapwatch.FindString(text); command != "" {
				t.Errorf("%s of %q: %s sends to our launcher, %s:\n%s", example, source, f.Code, command, text)
			}
			if strings.Contains(text, "{id}") || strings.Contains(text, "{pid}") {
				t.Errorf("%s of %q: %s leaves a blank:\n%s", example, source, f.Code, text)
			}
			if strings.Contains(text, "'x y'") || strings.Contains(text, cmp.Or(launchers[source].name, source, "its launcher")) {
				n++
			}
		})
		if n < 20 {
			t.Errorf("only %d findings say what to ask %q's launcher for", n, source)
		}
	}
}

// TestWhereTheLogsAre: of each launcher where its sandbox's words are, and how one ends it.
func TestWhereTheLogsAre(t *testing.T) {
	kept := func(f *path.Facts) { f.Sandbox.ConsoleFile = "/var/log/vm.console" }
	dead := func(f *path.Facts) { f.Sandbox.VMMAlive = path.No }
	for name, tt := range map[string]struct {
		f          path.Facts
		logs, anew string
	}{
		"ours":                  {changed(kept), "tapwatch sandbox logs i1", "kill the sandbox (tapwatch sandbox kill i1) and create it anew"},
		"E2B's":                 {changed(launchedByOther("e2b")), "the log of E2B's orchestrator, the lines with 'x y'; under Nomad: nomad alloc logs ALLOCATION start", "kill the sandbox (e2b sandbox kill 'x y') and create it anew"},
		"E2B's, with a file":    {changed(launchedByOther("e2b"), kept), "/var/log/vm.console", "kill the sandbox (e2b sandbox kill 'x y') and create it anew"},
		"libvirt's":             {changed(launchedByOther("libvirt")), "/var/log/libvirt/qemu/'x y'.log, and virsh console 'x y'", "end the domain and start it anew (virsh destroy 'x y'; virsh start 'x y')"},
		"a Firecracker's":       {changed(launchedByOther("firecracker")), "where the VMM's standard output and error go: ls -l /proc/4242/fd/1 /proc/4242/fd/2; and the files of its options --log-path", "have whoever started this Firecracker end the sandbox and start it anew"},
		"a Firecracker's, dead": {changed(launchedByOther("firecracker"), dead), "where the VMM's standard output and error go; and the files of its options --log-path", "have whoever started this Firecracker end the sandbox and start it anew"},
		"an operator's rule's":  {changed(launchedByOther("acme")), "where the VMM's standard output and error go: ls -l /proc/4242/fd/1 /proc/4242/fd/2", "have acme end the sandbox and start it anew"},
		"nobody's":              {changed(launchedByOther("")), "where the VMM's standard output and error go: ls -l /proc/4242/fd/1 /proc/4242/fd/2", "have its launcher end the sandbox and start it anew"},
	} {
		if got := logs(tt.f); got != tt.logs {
			t.Errorf("%s: its logs are %q, want %q", name, got, tt.logs)
		}
		if got := anew(tt.f); got != tt.anew {
			t.Errorf("%s: %q, want %q", name, got, tt.anew)
		}
	}
}

// TestPagesSayWhereTheLogsAre: the list for people is the one that findings speak by.
func TestPagesSayWhereTheLogsAre(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "checks", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	plain := strings.ReplaceAll(string(page), "`", "")
	for source, l := range launchers {
		if words := strings.ReplaceAll(l.logs, "{id}", "ID"); !strings.Contains(plain, words) {
			t.Errorf("docs/checks/README.md does not say %q for %s", words, source)
		}
	}
}

// TestEveryRuleHasItsLauncher: a launcher that the built-in rules know has its words here.
func TestEveryRuleHasItsLauncher(t *testing.T) {
	rules, err := os.ReadFile(filepath.Join("..", "identity", "presets.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`launcher: ([a-z0-9-]+)`).FindAllStringSubmatch(string(rules), -1) {
		if _, ok := launchers[m[1]]; !ok && m[1] != "vpn" {
			t.Errorf("no words for sandboxes of %s", m[1])
		}
	}
}

func TestWordsOfACommand(t *testing.T) {
	for s, want := range map[string]string{"i1": "i1", "default/vm+1": "default/vm+1", "two words": "'two words'", "it's; rm": `'it'\''s; rm'`, "": "''"} {
		if got := word(s); got != want {
			t.Errorf("%q: %s, want %s", s, got, want)
		}
	}
}

// The kernel's own names for things stand behind plain words, in brackets.
var (
	kernelWords = regexp.MustCompile(`\b(?:IFLA|IFA|RTM|TUN|NUD)_\w+|\bIFF_\w+|\bE(?:BUSY|INVAL|PERM|MFILE|NETUNREACH|ADDRNOTAVAIL|CONNREFUSED)\b|\blladdr\b|\bwchan\b|\bRST\b`)
	brackets    = regexp.MustCompile(`\([^()]*\)`)
	zeroPID     = regexp.MustCompile(`(?:\bpid|-p|kill(?: -CONT)?|/proc/) ?0\b`)
)

// TestPlainWords holds what people read: a cause is one sentence, evidence is no jargon,
// and whatever is to be done is said.
func TestPlainWords(t *testing.T) {
	for name, change := range map[string]func(*path.Facts){
		"ours": func(*path.Facts) {}, "on the host": onHost, "E2B's": launchedByOther("e2b"), "nobody's": launchedByOther(""),
		"of a VMM without a pid": func(f *path.Facts) { f.Sandbox.VMMPID = 0 },
		"of a template":          func(f *path.Facts) { f.Template = &path.Template{Dir: "/templates/b1"} },
	} {
		everyFinding(change, func(example string, f path.Finding, text string) {
			for _, said := range append([]string{f.Cause}, f.Evidence...) {
				if word := kernelWords.FindString(brackets.ReplaceAllString(said, "")); word != "" {
					t.Errorf("%s, %s: %s says %s without plain words: %s", example, name, f.Code, word, said)
				}
			}
			switch {
			case strings.Contains(f.Cause, ". ") || strings.HasSuffix(f.Cause, "."):
				t.Errorf("%s: the cause is more than one sentence: %s", example, f.Cause)
			case len(f.Cause) > 260:
				t.Errorf("%s: a cause of %d bytes: %s", example, len(f.Cause), f.Cause)
			case f.Fix == "" || len(f.Evidence) == 0:
				t.Errorf("%s: %s has no fix or no evidence", example, f.Code)
			case zeroPID.MatchString(f.Fix) && !strings.HasPrefix(f.Code, "vmm-"): // those are found of a process
				t.Errorf("%s: %s names pid 0: %s", example, f.Code, f.Fix)
			}
			for _, vague := range []string{"gained so far", "whose it is", "make the slot anew", "its launcher's log"} {
				if strings.Contains(text, vague) {
					t.Errorf("%s: %s says %q:\n%s", example, f.Code, vague, text)
				}
			}
		})
	}
}

// TestNamesOfTheVethPair: the namespace's end is called as it is called.
func TestNamesOfTheVethPair(t *testing.T) {
	peer := func(name string) func(*path.Facts) { return func(f *path.Facts) { f.Veth.Peer = name } }
	tryCheck(t, dnatMissing, []look{
		{"by name", changed(untranslated, shape(registry.DNAT), peer("vpeer0")), "problem", []string{"that sends what comes in by vpeer0"}},
		{"not known", changed(untranslated, shape(registry.DNAT), peer("")), "problem", []string{"that sends what comes in by the namespace's end of the veth pair"}},
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
