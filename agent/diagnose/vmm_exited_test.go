package diagnose

import (
	"strings"
	"testing"
	"time"

	"tapwatch/agent/path"
)

func noVMMFound(f *path.Facts) { f.Sandbox.VMMPID = 0 }

// ended is how the kernel reported the VMM's end, a moment before the carrier went.
func ended(how string, heldTap path.Tristate) func(*path.Facts) {
	return func(f *path.Facts) {
		f.Sandbox.VMMAlive = path.No
		f.Sandbox.VMMExit = &path.VMMExit{Time: f.Device.Since.Add(-40 * time.Microsecond), Command: "firecracker", How: how, HeldTap: heldTap}
	}
}

// goneWithVMM is a VMM that has ended, and its tap, which it had made, with it.
func goneWithVMM(f *path.Facts) {
	tapGone(f)
	f.Device.Persistent, f.Device.Since = path.No, secondsAgo(12)
	f.Sandbox.Holds = []path.HeldTap{}
	ended("was killed by SIGKILL from bash (pid 77)", path.Yes)(f)
}

// leftWithAnother is a VMM that has ended while another process keeps its tap open.
func leftWithAnother(f *path.Facts) {
	ended("was killed by SIGKILL from bash (pid 77)", path.Yes)(f)
	f.Device.Holders = []path.Holder{{PID: 4250, Command: "sleep", SameNS: true}}
	f.Sandbox.Holds = []path.HeldTap{}
}

func TestVMMExited(t *testing.T) {
	tryCheck(t, vmmExited, []look{
		{"runs and holds the tap", healthy(), "beside", nil},
		{"exited", changed(vmmDead), "problem", []string{
			"the VMM has exited", "pid 4242, is no longer a running process", "no process has the tap open",
			"tap0 in ns-7 has no carrier (operstate down); carrier came once and went twice", "since 03:03:53.000 (12s ago)", "OOM", "sandbox logs i1",
		}},
		{"none found", changed(vmmDead, noVMMFound), "problem", []string{"no VMM process was found in ns-7"}},
		{"exited while the sandbox boots", changed(vmmDead, booting), "problem", nil},
		{"not started yet", changed(neverAttached, vmmDead, noVMMFound, booting), "beside", nil},
		{"not known whether it runs", changed(vmmDead, func(f *path.Facts) { f.Sandbox.VMMAlive = path.Unknown }), "beside", nil},
		{"exited, but the tap has carrier", changed(func(f *path.Facts) { f.Sandbox.VMMAlive = path.No }), "beside", nil},
		{"exited, carrier unknown", changed(vmmDead, func(f *path.Facts) { f.Device.Carrier = path.Unknown }), "beside", nil},
		{"the tap is down as well", changed(vmmDead, tapIsDown), "suppressed", []string{"tap-down"}},
		{"the tap went with it", changed(goneWithVMM), "problem", []string{
			"the VMM has exited, and tap0, which it had made, went with it", "tap0 was not persistent", "it was killed by SIGKILL from bash (pid 77)"}},
		{"the tap went with it, and nobody saw how it ended", changed(goneWithVMM, func(f *path.Facts) { f.Sandbox.VMMExit = nil }), "problem", []string{"pid 4242, is no longer a running process"}},
		{"another keeps the tap", changed(leftWithAnother), "problem", []string{
			"the VMM has exited; tap0 is still held by sleep (pid 4250), which does not serve it", "the tap keeps its carrier", "end pid 4250"}},
		{"another keeps the tap, and it is not known whether the VMM had it", changed(leftWithAnother, ended("was killed by SIGKILL", path.Unknown)), "suppressed", []string{"tap-busy"}},
		{"another keeps the tap, and the VMM's own file was not closed when it was read", changed(leftWithAnother, func(f *path.Facts) {
			f.Device.Holders = append([]path.Holder{{PID: 4242, Command: "firecracker", SameNS: true}}, f.Device.Holders...)
		}), "problem", []string{"still held by sleep (pid 4250), which"}},
		{"only its own file was not closed when it was read", changed(ended("was killed by SIGKILL", path.Yes)), "beside", nil},
		{"another has the tap, which the VMM had not", changed(leftWithAnother, ended("ended with status 1", path.No)), "beside", nil},
		{"it ended before the holders were read", changed(ended("ended with status 0", path.Yes), nobodyHolds), "beside", nil},
		{"operstate unknown", changed(vmmDead, func(f *path.Facts) { f.Device.Operstate = "" }), "problem", []string{"operstate unknown"}},
	})
}

// TestWhyTheVMMEnded: what is to be done fits how it ended.
func TestWhyTheVMMEnded(t *testing.T) {
	for how, want := range map[string]string{
		"":                                      "read the VMM's last words (tapwatch sandbox logs i1); where they do not say why it ended, see the kernel log for an OOM kill (dmesg -T); an agent that runs as a VMM ends says how",
		"was killed by SIGKILL":                 "read the VMM's last words (tapwatch sandbox logs i1) and the kernel log for an OOM kill (dmesg -T)",
		"was killed by SIGKILL from the kernel": "read the kernel log for the OOM kill (dmesg -T), and give the sandbox or the host more memory, or run fewer sandboxes",
		"was killed by SIGKILL from bash (pid 77)": "see in the log of bash (pid 77) why it ended the VMM; read the VMM's last words (tapwatch sandbox logs i1)",
		"was killed by SIGSEGV from the kernel":    "read the VMM's last words (tapwatch sandbox logs i1)",
		"was killed by SIGABRT of its own making":  "read the VMM's last words (tapwatch sandbox logs i1)",
		"ended with status 1":                      "read the VMM's last words (tapwatch sandbox logs i1)",
		"ended with status 0":                      "the guest shut down or rebooted, or somebody asked the VMM to end: read the end of its console (tapwatch sandbox logs i1)",
	} {
		f := changed(vmmDead)
		if how != "" {
			ended(how, path.Yes)(&f)
		}
		d := Run(f)
		if got, ok := strings.CutSuffix(d.Findings[0].Fix, "; then kill the sandbox (tapwatch sandbox kill i1) and create it anew"); !ok || got != want {
			t.Errorf("%s: got %q, want %q", how, d.Findings[0].Fix, want)
		}
	}
}
