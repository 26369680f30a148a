package diagnose

import (
	"strings"
	"testing"
	"time"

	"tapwatch/agent/path"
	"tapwatch/internal/registry"
)

// now is when all facts of the tests were gathered.
var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func secondsAgo(s float64) time.Time {
	return now.Add(-time.Duration(s * float64(time.Second)))
}

// healthy is a path in which a request was answered two seconds ago.
func healthy() path.Facts {
	return path.Facts{
		Now: now, Netns: "ns-7", Cookie: 4711, ServicePort: 49983, Launcher: "tapwatch",
		Sandbox: &path.Sandbox{ID: "i1", Source: "tapwatch", Shape: registry.Relay, VMMPID: 4242, VMMAlive: path.Yes,
			Since: secondsAgo(60), Holds: []path.HeldTap{{Netns: "ns-7", Device: "tap0", Here: true}}},
		Proxy: path.Listener{Addr: "127.0.0.1:49983", Listening: path.Yes, Expected: true, Queue: path.Queue{Max: 4096},
			Process: path.Process{PID: 900, Command: "tapwatch", Stopped: path.No, Files: 120, MaxFiles: 4096}},
		Relay: path.Listener{Addr: "10.12.0.15:49983", Listening: path.Yes, Queue: path.Queue{Max: 5},
			Process: path.Process{PID: 4300, Command: "socat", Stopped: path.No, Files: 8, MaxFiles: 1024}},
		Veth: path.Veth{Host: "veth-7", HostUp: path.Yes, Peer: "eth0", PeerUp: path.Yes, MTU: 1500,
			MAC: "0a:58:0a:0c:00:0f", HostMAC: "0a:58:0a:0c:00:0e"},
		Device: path.Device{
			Name: "tap0", MTU: 1500, MAC: "02:fc:00:00:00:06", Addr: "169.254.0.22", GuestAddr: "169.254.0.21",
			Kind: "tun", Persistent: path.Yes, Exists: path.Yes, AdminUp: path.Yes, Carrier: path.Yes, Operstate: "up", Since: secondsAgo(59), Ups: 1, Downs: 1,
			Holders: []path.Holder{{PID: 4242, Command: "qemu-system-x86", SameNS: true}},
			Tun:     &path.Tun{VnetHdr: true}, Neighbour: &path.Neighbour{Addr: "169.254.0.21", MAC: "02:fc:00:00:00:05", State: "REACHABLE"},
		},
		CloseLook: &path.CloseLook{
			Rules: path.Rules{Forwards: path.Yes, Filters: path.Filters{Drops: []string{}}, Host: path.Filters{Drops: []string{}}},
			Inside: path.Inside{
				ToNamespace:   path.Route{Asked: "10.12.0.15", Wants: "veth-7", Device: "veth-7", Source: "10.12.0.14"},
				FromNamespace: path.Route{Asked: "10.12.0.14 from 10.12.0.15 iif veth-7", Wants: "lo", Device: "lo"},
				FromClient:    path.Route{Asked: "10.12.0.15 from 10.12.0.14 iif eth0", Wants: "lo", Device: "lo"},
				ToClient:      path.Route{Asked: "10.12.0.14", Wants: "eth0", Device: "eth0", Source: "10.12.0.15"},
				ToGuest:       path.Route{Asked: "169.254.0.21", Wants: "tap0", Device: "tap0", Source: "169.254.0.22"},
				FromGuest:     path.Route{Asked: "169.254.0.22 from 169.254.0.21 iif tap0", Wants: "lo", Device: "lo"},
				Vpeer:         &path.Neighbour{Addr: "10.12.0.15", MAC: "0a:58:0a:0c:00:0f", State: "STALE"},
				Client:        &path.Neighbour{Addr: "10.12.0.14", MAC: "0a:58:0a:0c:00:0e", State: "REACHABLE"},
				TapAddrs:      []string{"169.254.0.22/30"}, NoDefault: path.No,
				Conntrack: path.Conntrack{Count: 12, Max: 262144}, Qdiscs: []path.Qdisc{},
				TCPMemory: &path.TCPMemory{Pages: 120, Pressure: 3934, Max: 5901},
			},
		},
		Traffic: &path.Traffic{
			ReceivePackets: 40, TransmitPackets: 50, ARPRequests: 1, ARPReplies: 1, SYNs: 3, SYNACKs: 3,
			LastReceive: secondsAgo(2), LastARPRequest: secondsAgo(50), LastARPReply: secondsAgo(50),
			LastEnvdSYN: secondsAgo(2), LastEnvdSYNACK: secondsAgo(2),
		},
	}
}

// changed is the healthy path with something done to it.
func changed(changes ...func(*path.Facts)) path.Facts {
	f := healthy()
	for _, change := range changes {
		change(&f)
	}
	return f
}

// Changes that several tests want.

func booting(f *path.Facts) { f.Sandbox.Booting = true }

func noHooks(f *path.Facts) { f.Traffic = nil }

// noCarrierThere takes the carrier away; nobody has the tap open.
func noCarrierThere(f *path.Facts) {
	f.Device.Carrier, f.Device.Operstate, f.Device.Since = path.No, "down", secondsAgo(12)
	f.Device.Ups, f.Device.Downs, f.Device.Holders = 1, 2, []path.Holder{}
	f.Sandbox.Holds = []path.HeldTap{}
}

func vmmDead(f *path.Facts) {
	noCarrierThere(f)
	f.Sandbox.VMMAlive = path.No
}

// neverAttached is a tap as its maker left it: closing it once was the first loss.
func neverAttached(f *path.Facts) {
	noCarrierThere(f)
	f.Device.Ups, f.Device.Downs, f.Device.Since = 0, 1, time.Time{}
}

// guestMute takes away every frame of the guest while ARP asks for it.
func guestMute(f *path.Facts) {
	*f.Traffic = path.Traffic{TransmitPackets: 9, ARPRequests: 4, LastARPRequest: secondsAgo(0.9), ARPWaiting: secondsAgo(4.2)}
}

func vethCut(f *path.Facts) { f.Veth.HostUp, f.Veth.PeerUp = path.No, path.Unknown }

func notForwarding(f *path.Facts) {
	f.Sandbox.Shape, f.Rules.Forwards = "dnat", path.No
	f.Relay = path.Listener{}
}

func filtered(f *path.Facts) {
	f.Rules.Drops = []string{"chain input of table inet filter drops what the proxy sends the relay, by rule 1 (handle 4)"}
}

func filteredByHost(f *path.Facts) {
	f.Rules.Host.Drops = []string{"chain OUTPUT of table filter drops what the proxy sends the relay, by rule 4 (handle 9)"}
}

func tapMoved(f *path.Facts) {
	tapGone(f)
	f.Sandbox.Holds = []path.HeldTap{{Netns: "ns-lost", Device: "tap0"}}
}

func inAnotherNamespace(f *path.Facts) {
	neverAttached(f)
	f.Sandbox.Holds = []path.HeldTap{{Netns: "ns-8", Device: "tap0"}}
}

func onAnotherTap(f *path.Facts) {
	neverAttached(f)
	f.Sandbox.Holds = []path.HeldTap{{Netns: "ns-7", Device: "tap1", Here: true}}
}

// panicked is a guest whose kernel ended, and its VMM with it.
func panicked(f *path.Facts) {
	vmmDead(f)
	noTrafficYet(f)
	onConsole("guest-panic", "[ 12.204113] Kernel panic - not syncing: Out of memory: system-wide panic_on_oom is enabled")(f)
}

func onConsole(code, line string) func(*path.Facts) {
	return func(f *path.Facts) {
		f.Sandbox.Console = append(f.Sandbox.Console, path.ConsoleFault{Code: code, Line: line, Read: now})
	}
}

func otherMAC(f *path.Facts) {
	f.Device.MAC, f.Device.MACWas = "02:fc:00:00:00:66", "02:fc:00:00:00:06"
}

// hung is a guest that was up and answers nothing more.
func hung(f *path.Facts) {
	f.Traffic.LastReceive, f.Traffic.LastEnvdSYNACK = secondsAgo(40), secondsAgo(40)
	f.Traffic.EnvdWaiting, f.Traffic.LastEnvdSYN = secondsAgo(31), secondsAgo(1)
	f.Traffic.ARPWaiting, f.Traffic.LastARPRequest = secondsAgo(26), secondsAgo(0.5)
}

func otherMTU(f *path.Facts) { f.Device.MTU = 1300 }

// neverUp takes away what envd's port once answered.
func neverUp(f *path.Facts) { f.Traffic.SYNACKs, f.Traffic.LastEnvdSYNACK = 0, time.Time{} }

// outcome is what a check comes to within a whole diagnosis: one of problem,
// ok, unknown, paused, beside (the point), booting (a problem, excused for now) and
// suppressed (a problem that an earlier one explains, or that the VM is paused).
func outcome(t *testing.T, c Check, f path.Facts) (outcome, words string) {
	t.Helper()
	d := Run(f)
	for _, found := range d.Findings {
		if found.Code == c.Code {
			wantComplete(t, c, found)
			return "problem", strings.Join(append([]string{found.Cause, found.Fix}, found.Evidence...), "\n")
		}
	}
	r := c.Run(f)
	if r.verdict == beside { // also where the path has no such hop
		return "beside", ""
	}
	h := hopOf(t, d, c.Hop)
	switch r.verdict {
	case ok:
		if !strings.Contains(h.Detail, r.detail) && h.State == path.OK {
			t.Errorf("hop %s says %q, without the check's %q", h.Hop, h.Detail, r.detail)
		}
		return "ok", r.detail
	case unknown:
		if h.State == path.OK {
			t.Errorf("the check does not know (%s), and its hop is ok", r.detail)
		}
		return "unknown", r.detail
	case paused:
		if h.State != path.Paused {
			t.Errorf("paused (%s), and its hop is %s", r.detail, h.State)
		}
		return "paused", r.detail
	}
	if d.State == path.Paused {
		return "suppressed", vmmPaused.Code
	}
	if h.State == path.Booting {
		return "booting", h.Detail
	}
	if h.State == path.OK && !c.Last || len(d.Findings) == 0 {
		t.Errorf("a problem is left out, its hop is %s and there are %d findings", h.State, len(d.Findings))
	}
	return "suppressed", d.Findings[0].Code
}

func wantComplete(t *testing.T, c Check, f path.Finding) {
	t.Helper()
	if f.Hop != c.Hop || (f.Severity != c.Severity && f.Severity != path.Warning) || f.Cause == "" || f.Fix == "" || len(f.Evidence) == 0 {
		t.Errorf("finding lacks something: %+v", f)
	}
	for _, s := range append([]string{f.Cause, f.Fix}, f.Evidence...) {
		if strings.TrimSpace(s) != s || s == "" || strings.Contains(s, "  ") || strings.Contains(s, "\n") {
			t.Errorf("words of a finding are not one tidy line: %q", s)
		}
	}
}

func hopOf(t *testing.T, d path.Diagnosis, hop path.Hop) path.HopState {
	t.Helper()
	for _, h := range d.Hops {
		if h.Hop == hop {
			return h
		}
	}
	t.Fatalf("no hop %s in %+v", hop, d.Hops)
	return path.HopState{}
}

// look is facts and what a check is to make of them.
type look struct {
	name  string
	facts path.Facts
	want  string   // as outcome gives it
	says  []string // parts of the words; of a suppressed problem: the code that explains it
}

func tryCheck(t *testing.T, c Check, looks []look) {
	t.Helper()
	for _, l := range looks {
		t.Run(l.name, func(t *testing.T) {
			got, words := outcome(t, c, l.facts)
			if got != l.want {
				t.Fatalf("got %s (%s), want %s", got, words, l.want)
			}
			for _, s := range l.says {
				if !strings.Contains(words, s) {
					t.Errorf("does not say %q:\n%s", s, words)
				}
			}
		})
	}
}
