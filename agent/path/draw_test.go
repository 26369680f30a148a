package path

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"tapwatch/internal/registry"
	"testing"
	"unicode/utf8"
)

// slot is a bound slot whose hops all stand as given.
func slot(name string, d Diagnosis) Slot {
	return Slot{
		Facts: Facts{
			Netns:   "ns-7",
			Sandbox: &Sandbox{ID: "i1", Name: name},
			Proxy:   Listener{Addr: "127.0.0.1:49983"},
			Relay:   Listener{Addr: "10.12.0.15:49983"},
			Device:  Device{Name: "tap0", Addr: "169.254.0.22", GuestAddr: "169.254.0.21", Carrier: Yes},
		},
		Diagnosis: d,
	}
}

func shaped(shape registry.Shape, s Slot) Slot {
	s.Sandbox.Shape = shape
	return s
}

// unread is a slot of which something could not be read.
func unread(s Slot) Slot {
	s.Inside.Unread = []Unread{{What: "connection tracking", Because: "open /proc/sys/net/netfilter/nf_conntrack_max: permission denied"}}
	return s
}

// hops gives the hops their states in order, each with its detail.
func hops(of ...string) []HopState {
	var hs []HopState
	for i, hop := range Hops {
		hs = append(hs, HopState{Hop: hop, State: State(of[2*i]), Detail: of[2*i+1]})
	}
	return hs
}

var pictures = map[string]Slot{
	"healthy": slot("healthy", Diagnosis{State: OK, Hops: hops("ok", "listens", "ok", "listens",
		"ok", "carrier, held by qemu-system-x86 (pid 4242)", "ok", "last frame 2s ago", "ok", "answered a SYN 2s ago")}),
	"no-carrier": slot("no-carrier", Diagnosis{State: Broken, Hops: hops("ok", "listens", "ok", "listens",
		"broken", "NO-CARRIER: the VMM runs (pid 4242) but has not opened tap0", "unknown", "behind the break", "unknown", "behind the break"),
		Findings: []Finding{{Code: "vmm-not-attached", Hop: Tap, Severity: Critical, Cause: "NO-CARRIER: the VMM runs (pid 4242) but has not opened tap0",
			Evidence: []string{"IFLA_CARRIER of tap0 in ns-7 is 0", "no process has the tap open"}, Fix: "its network interface was not configured"}}}),
	"no-driver": slot("no-driver", Diagnosis{State: Broken, Hops: hops("ok", "listens", "ok", "listens",
		"ok", "carrier", "broken", "the guest is silent", "unknown", "behind the break"),
		Findings: []Finding{{Code: "guest-silent", Hop: Guest, Severity: Critical, Cause: "the guest is silent",
			Evidence: []string{"frames from the guest: 0 (the last: never); to it: 9"}, Fix: "read the guest's console"}}}),
	"no-envd": slot("no-envd", Diagnosis{State: Broken, Hops: hops("ok", "listens", "ok", "listens",
		"ok", "carrier", "ok", "last frame 2s ago", "broken", "nothing listens on envd's port"),
		Findings: []Finding{{Code: "envd-refused", Hop: Envd, Severity: Critical, Cause: "nothing listens on envd's port",
			Evidence: []string{"a SYN to envd's port was answered with RST 300ms ago"}, Fix: "read the guest's console"}}}),
	"two-causes": slot("", Diagnosis{State: Broken, Hops: hops("broken", "no process listens", "unknown", "not read",
		"ok", "carrier", "ok", "last frame 2s ago", "broken", "nothing listens on envd's port"),
		Findings: []Finding{{Code: "proxy-not-listening", Hop: Proxy, Severity: Critical, Cause: "no process listens", Evidence: []string{"no TCP socket in state LISTEN"}, Fix: "start layer 1"},
			{Code: "envd-refused", Hop: Envd, Severity: Critical, Cause: "nothing listens on envd's port", Evidence: []string{"a RST"}, Fix: "read the guest's console"}}}),
	"booting": slot("new", Diagnosis{State: Booting, Hops: hops("ok", "listens", "ok", "listens",
		"booting", "NO-CARRIER", "unknown", "behind the break", "unknown", "behind the break")}),
	"fused": shaped(registry.Fused, slot("fast", Diagnosis{State: OK, Hops: []HopState{{Proxy, OK, "listens"}, {Tap, OK, "carrier"}, {Guest, OK, "last frame 2s ago"}, {Envd, OK, "answered"}}})),
	"dnat": shaped(registry.DNAT, slot("up", Diagnosis{State: OK, Hops: hops("ok", "listens", "ok", "the kernel passes on",
		"ok", "carrier", "ok", "last frame 2s ago", "ok", "answered")})),
	// A detail that is not there leaves no blanks at the line's end.
	"no-detail": slot("", Diagnosis{State: Undecided, Hops: hops("unknown", "", "ok", "", "unknown", "", "unknown", "", "unknown", "")}),
	"unread":    unread(slot("", Diagnosis{State: OK, Hops: hops("ok", "listens", "ok", "listens", "ok", "carrier", "ok", "last frame 2s ago", "ok", "answered")})),
	"idle-held": {Facts: Facts{Netns: "ns-9", Device: Device{Name: "tap0", Carrier: Yes}}, Diagnosis: Diagnosis{State: Idle}},
	"idle":      {Facts: Facts{Netns: "ns-8", Device: Device{Name: "tap0", Carrier: No}}, Diagnosis: Diagnosis{State: Idle}},
}

func TestDraw(t *testing.T) {
	for name, s := range pictures {
		for _, color := range []bool{false, true} {
			file := name + ".txt"
			if color {
				file = name + ".color.txt"
			}
			t.Run(file, func(t *testing.T) {
				want, err := os.ReadFile(filepath.Join("testdata", file))
				if err != nil {
					t.Fatal(err)
				}
				var got strings.Builder
				Draw(&got, s, Screen{Color: color})
				if got.String() != string(want) {
					t.Errorf("got\n%s\nwant\n%s\n%q", got.String(), want, got.String())
				}
			})
		}
	}
}

// TestDrawKeepsWithinAScreen holds that no line is wider than the terminal and no
// word is lost.
func TestDrawKeepsWithinAScreen(t *testing.T) {
	for name, s := range pictures {
		for _, width := range []int{72, 80, 132} {
			var wide, narrow strings.Builder
			Draw(&wide, s, Screen{})
			Draw(&narrow, s, Screen{Width: width})
			for line := range strings.Lines(narrow.String()) {
				if n := utf8.RuneCountInString(line) - 1; n > width && s.Sandbox != nil {
					t.Errorf("%s: %d columns of %d: %s", name, n, width, line)
				}
			}
			if got, want := strings.Fields(narrow.String()), strings.Fields(wide.String()); !slices.Equal(got, want) {
				t.Errorf("%s: the words differ:\n%s", name, narrow.String())
			}
		}
	}
	for _, file := range []string{"no-carrier", "two-causes"} {
		var got strings.Builder
		Draw(&got, pictures[file], Screen{Width: 80})
		golden(t, file+".80.txt", got.String())
	}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	want, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil || got != string(want) {
		t.Errorf("%s (%v): got\n%s\nwant\n%s", file, err, got, want)
	}
}

// TestDrawAll holds that what is broken stands last, that many healthy ones take a
// line each, and that the last line names what is wrong.
func TestDrawAll(t *testing.T) {
	many := []Slot{pictures["no-carrier"], pictures["idle"]}
	for range 5 {
		many = append(many, pictures["healthy"])
	}
	for file, slots := range map[string][]Slot{
		"all-few.txt":  {pictures["no-carrier"], pictures["healthy"], pictures["booting"]},
		"all-many.txt": many,
		"all-one.txt":  {pictures["healthy"]},
	} {
		var got strings.Builder
		DrawAll(&got, slots, Screen{Width: 80})
		golden(t, file, got.String())
	}
}

// TestColorsChangeNothingElse holds that a picture with colours is the plain
// one once the terminal has taken them.
func TestColorsChangeNothingElse(t *testing.T) {
	escapes := strings.NewReplacer("\x1b[32m", "", "\x1b[1;31m", "", "\x1b[33m", "", "\x1b[36m", "", "\x1b[0m", "")
	for name, s := range pictures {
		var plain, colored strings.Builder
		Draw(&plain, s, Screen{})
		Draw(&colored, s, Screen{Color: true})
		if strings.Contains(plain.String(), "\x1b") {
			t.Errorf("%s: escapes where none were asked for", name)
		}
		if s.Sandbox != nil && !strings.Contains(colored.String(), "\x1b") {
			t.Errorf("%s: no colours", name)
		}
		var lines []string
		for line := range strings.Lines(escapes.Replace(colored.String())) {
			lines = append(lines, strings.TrimRight(line, " \n")+"\n")
		}
		if got := strings.Join(lines, ""); got != plain.String() {
			t.Errorf("%s: got\n%swant\n%s", name, got, plain.String())
		}
	}
}

func TestBrokenAt(t *testing.T) {
	for name, want := range map[string]Hop{
		"healthy": "", "idle": "", "no-detail": "", "no-carrier": Tap, "no-driver": Guest, "no-envd": Envd, "two-causes": Proxy, "booting": Tap,
	} {
		if got := pictures[name].Diagnosis.BrokenAt(); got != want {
			t.Errorf("%s: broken at %q, want %q", name, got, want)
		}
	}
}
