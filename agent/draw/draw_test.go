package draw

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"tapwatch/agent/path"
	"tapwatch/internal/registry"
)

// slot is a bound slot whose hops all stand as given.
func slot(name string, d path.Diagnosis) path.Slot {
	return path.Slot{
		Facts: path.Facts{
			Netns:   "ns-7",
			Sandbox: &path.Sandbox{ID: "i1", Name: name},
			Proxy:   path.Listener{Addr: "127.0.0.1:49983"},
			Relay:   path.Listener{Addr: "10.12.0.15:49983"},
			Device:  path.Device{Name: "tap0", Addr: "169.254.0.22", GuestAddr: "169.254.0.21", Carrier: path.Yes},

			CloseLook: &path.CloseLook{},
		},
		Diagnosis: d,
	}
}

func shaped(shape registry.Shape, s path.Slot) path.Slot {
	s.Sandbox.Shape = shape
	return s
}

// unread is a slot of which something could not be read.
func unread(s path.Slot) path.Slot {
	s.Inside.Unread = []path.Unread{{What: "connection tracking", Because: "open /proc/sys/net/netfilter/nf_conntrack_max: permission denied"}}
	return s
}

// hops gives the hops their states in order, each with its detail.
func hops(of ...string) []path.HopState {
	var hs []path.HopState
	for i, hop := range path.Hops {
		hs = append(hs, path.HopState{Hop: hop, State: path.State(of[2*i]), Detail: of[2*i+1]})
	}
	return hs
}

var pictures = map[string]path.Slot{
	"healthy": slot("healthy", path.Diagnosis{State: path.OK, Hops: hops("ok", "listens", "ok", "listens",
		"ok", "carrier, held by qemu-system-x86 (pid 4242)", "ok", "last frame 2s ago", "ok", "answered a SYN 2s ago")}),
	"no-carrier": slot("no-carrier", path.Diagnosis{State: path.Broken, Hops: hops("ok", "listens", "ok", "listens",
		"broken", "NO-CARRIER: the VMM runs (pid 4242) but has not opened tap0", "unknown", "behind the break", "unknown", "behind the break"),
		Findings: []path.Finding{{Code: "vmm-not-attached", Hop: path.Tap, Severity: path.Critical, Cause: "NO-CARRIER: the VMM runs (pid 4242) but has not opened tap0",
			Evidence: []string{"tap0 in ns-7 has no carrier (operstate down)", "no process has the tap open"}, Fix: "its network interface was not configured"}}}),
	"no-driver": slot("no-driver", path.Diagnosis{State: path.Broken, Hops: hops("ok", "listens", "ok", "listens",
		"ok", "carrier", "broken", "the guest is silent", "unknown", "behind the break"),
		Findings: []path.Finding{{Code: "guest-silent", Hop: path.Guest, Severity: path.Critical, Cause: "the guest is silent",
			Evidence: []string{"frames from the guest: 0 (the last: never); to it: 9"}, Fix: "read the guest's console"}}}),
	"no-envd": slot("no-envd", path.Diagnosis{State: path.Broken, Hops: hops("ok", "listens", "ok", "listens",
		"ok", "carrier", "ok", "last frame 2s ago", "broken", "nothing listens on envd's port"),
		Findings: []path.Finding{{Code: "envd-refused", Hop: path.Envd, Severity: path.Critical, Cause: "nothing listens on envd's port",
			Evidence: []string{"the guest's kernel reset a connection to envd's port 300ms ago"}, Fix: "read the guest's console"}}}),
	"two-causes": slot("", path.Diagnosis{State: path.Broken, Hops: hops("broken", "no process listens", "unknown", "not read",
		"ok", "carrier", "ok", "last frame 2s ago", "broken", "nothing listens on envd's port"),
		Findings: []path.Finding{{Code: "proxy-not-listening", Hop: path.Proxy, Severity: path.Critical, Cause: "no process listens", Evidence: []string{"no process listens on TCP 127.0.0.1:49983"}, Fix: "start the proxy"},
			{Code: "envd-refused", Hop: path.Envd, Severity: path.Critical, Cause: "nothing listens on envd's port", Evidence: []string{"the guest refused it"}, Fix: "read the guest's console"}}}),
	"warning-first": slot("", path.Diagnosis{State: path.Broken, Hops: hops("ok", "listens", "ok", "listens",
		"broken", "tap0 in ns-7 is down", "unknown", "behind the break", "unknown", "behind the break"),
		Findings: []path.Finding{{Code: "no-egress", Hop: path.Relay, Severity: path.Warning, Cause: "the guest does not get out", Evidence: []string{"the host has no default route"}, Fix: "give it one"},
			{Code: "tap-down", Hop: path.Tap, Severity: path.Critical, Cause: "tap0 in ns-7 is down", Evidence: []string{"its flags lack UP"}, Fix: "ip -n ns-7 link set tap0 up"}}}),
	"booting": slot("new", path.Diagnosis{State: path.Booting, Hops: hops("ok", "listens", "ok", "listens",
		"booting", "NO-CARRIER", "unknown", "behind the break", "unknown", "behind the break")}),
	"paused": slot("resting", path.Diagnosis{State: path.Paused, Hops: hops("ok", "listens", "ok", "listens",
		"ok", "carrier", "paused", "paused by its API; no request waits for it", "unknown", "not checked: the VM is paused")}),
	"fused": shaped(registry.Fused, slot("fast", path.Diagnosis{State: path.OK, Hops: []path.HopState{{Hop: path.Proxy, State: path.OK, Detail: "listens"}, {Hop: path.Tap, State: path.OK, Detail: "carrier"}, {Hop: path.Guest, State: path.OK, Detail: "last frame 2s ago"}, {Hop: path.Envd, State: path.OK, Detail: "answered"}}})),
	"dnat": shaped(registry.DNAT, slot("up", path.Diagnosis{State: path.OK, Hops: hops("ok", "listens", "ok", "the kernel passes on",
		"ok", "carrier", "ok", "last frame 2s ago", "ok", "answered")})),
	// A detail that is not there leaves no blanks at the line's end.
	"no-detail": slot("", path.Diagnosis{State: path.Undecided, Hops: hops("unknown", "", "ok", "", "unknown", "", "unknown", "", "unknown", "")}),
	"unread":    unread(slot("", path.Diagnosis{State: path.OK, Hops: hops("ok", "listens", "ok", "listens", "ok", "carrier", "ok", "last frame 2s ago", "ok", "answered")})),
	"unidentified": {Facts: path.Facts{Netns: "host", Device: path.Device{Name: "tap7", Carrier: path.Yes}, Traffic: &path.Traffic{ReceivePackets: 3, TransmitPackets: 4},
		Unidentified: &path.Holder{PID: 77, Command: "mystery"}}, Diagnosis: path.Diagnosis{State: path.Unidentified}},
	"stray": {Facts: path.Facts{Netns: "ns-8", Launcher: "e2b", Device: path.Device{Name: "tap0", Carrier: path.No},
		Stray: &path.Stray{SandboxID: "i1", Command: "firecracker", PID: 77, Netns: "ns-lost", Device: "tap0"}}, Diagnosis: path.Diagnosis{State: path.Idle}},
	"wrong-kind": {Facts: path.Facts{Netns: "ns-8", Launcher: "e2b", Device: path.Device{Name: "tap0", Kind: "ifb"}}, Diagnosis: path.Diagnosis{State: path.Idle}},
	"idle-held":  {Facts: path.Facts{Netns: "ns-9", Device: path.Device{Name: "tap0", Carrier: path.Yes}}, Diagnosis: path.Diagnosis{State: path.Idle}},
	"idle":       {Facts: path.Facts{Netns: "ns-8", Launcher: "e2b", Device: path.Device{Name: "tap0", Carrier: path.No}}, Diagnosis: path.Diagnosis{State: path.Idle}},
}

func TestDraw(t *testing.T) {
	for name, s := range pictures {
		for _, color := range []bool{false, true} {
			file := name + ".txt"
			if color {
				file = name + ".color.txt"
			}
			t.Run(file, func(t *testing.T) {
				var got strings.Builder
				Path(&got, s, Screen{Color: color})
				golden(t, file, got.String())
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
			Path(&wide, s, Screen{})
			Path(&narrow, s, Screen{Width: width})
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
		Path(&got, pictures[file], Screen{Width: 80})
		golden(t, file+".80.txt", got.String())
	}
}

var update = flag.Bool("update", false, "write the pictures in testdata anew")

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(filepath.Join("testdata", file), []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil || got != string(want) {
		t.Errorf("%s (%v): got\n%s\nwant\n%s", file, err, got, want)
	}
}

// TestDrawAll holds that what is broken stands last, that many healthy ones take a
// line each, and that the last line names what is wrong.
func TestDrawAll(t *testing.T) {
	many := []path.Slot{pictures["no-carrier"], pictures["idle"]}
	for range 5 {
		many = append(many, pictures["healthy"])
	}
	for file, slots := range map[string][]path.Slot{
		"all-few.txt":  {pictures["no-carrier"], pictures["healthy"], pictures["booting"]},
		"all-many.txt": many,
		"all-one.txt":  {pictures["healthy"]},
	} {
		var got strings.Builder
		All(&got, slots, Screen{Width: 80})
		golden(t, file, got.String())
	}
}

// TestColorsChangeNothingElse holds that a picture with colours is the plain
// one once the terminal has taken them.
func TestColorsChangeNothingElse(t *testing.T) {
	escapes := strings.NewReplacer("\x1b[32m", "", "\x1b[1;31m", "", "\x1b[33m", "", "\x1b[36m", "", "\x1b[0m", "")
	for name, s := range pictures {
		var plain, colored strings.Builder
		Path(&plain, s, Screen{})
		Path(&colored, s, Screen{Color: true})
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

// TestSeverityWords: that requests fail is said as measured only where it was.
func TestSeverityWords(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	lost := &path.Requests{Relay: path.Asked{Ended: 6, Failed: 6, Last: now}}
	for _, tt := range []struct {
		severity path.Severity
		requests *path.Requests
		want     string
	}{
		{path.Critical, lost, "requests of clients fail now"},
		{path.Critical, nil, "any request of a client fails now (none was counted lately)"},
		{path.Critical, &path.Requests{}, "any request of a client fails now (none was counted lately)"},
		{path.Critical, &path.Requests{Relay: path.Asked{Ended: 6, Last: now}}, "any request of a client fails now (none did lately)"},
		{path.Critical, &path.Requests{Guest: path.Asked{Ended: 6, Failed: 1, Last: now}}, "any request of a client fails now (few did lately)"},
		{path.Warning, lost, "some requests fail, or will"},
		{path.Info, nil, "no request to the service port fails for it"},
		{"", nil, "what it means for clients is not known"},
	} {
		s := path.Slot{Facts: path.Facts{Now: now, Requests: tt.requests}}
		if got := severityWords(s, path.Finding{Severity: tt.severity}); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.severity, got, tt.want)
		}
	}
}
