package agent

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"tapwatch/agent/path"
	"tapwatch/internal/nettest"
	"tapwatch/internal/proc"
	"tapwatch/internal/registry"
)

// vmm starts a process that holds the tap, and binds a sandbox of it to the slot.
func (h *host) vmm() *exec.Cmd {
	h.t.Helper()
	tap := nettest.AttachTap(h.t, h.slot.Netns, "tap0")
	defer tap.Close()
	return h.bindVMM(registry.Booting, tap)
}

// bindVMM starts a process that holds these files, and binds a sandbox of it to the
// slot.
func (h *host) bindVMM(state registry.State, holds ...*os.File) *exec.Cmd {
	h.t.Helper()
	cmd := exec.CommandContext(h.t.Context(), "sleep", "1000")
	cmd.ExtraFiles = holds
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()
	})
	p, err := proc.ProcessOf(cmd.Process.Pid)
	if err != nil {
		h.t.Fatal(err)
	}
	h.bindTo(state, p)
	return cmd
}

// A VMM that is killed: how, and that it died before the carrier went, is
// evidence at once and history after the sandbox has gone.
func TestDeathOfAVMMIsRecorded(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.until("idle", func(s path.Slot) bool { return s.Diagnosis.State == path.Idle && s.Traffic != nil })
	cmd := h.vmm()
	h.until("carrier", func(s path.Slot) bool {
		return s.Device.Carrier == path.Yes && s.Sandbox != nil && s.Sandbox.VMMPID == cmd.Process.Pid
	})
	h.slot.Sandbox.State = registry.Running
	h.put()
	h.until("booted", func(s path.Slot) bool { return s.Sandbox.Boot != nil && !s.Sandbox.Boot.At(path.EnvdHealthy).IsZero() })
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	s := h.until("vmm-exited", func(s path.Slot) bool { return code(s) == "vmm-exited" })
	if e := strings.Join(s.Diagnosis.Findings[0].Evidence, "\n"); !strings.Contains(e, "was killed by SIGKILL") || !strings.Contains(e, "before the carrier was seen to go") {
		t.Errorf("evidence:\n%s", e)
	}
	h.slot.Sandbox = nil
	h.put()
	h.until("idle again", func(s path.Slot) bool { return s.Diagnosis.State == path.Idle })

	got, err := h.client.History(t.Context(), "itest")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(got.LastLoss(), "the VMM ended first") || got.Gone.IsZero() {
		t.Errorf("%q, gone %v", got.LastLoss(), got.Gone)
	}
	var kinds []path.EventKind
	for _, e := range got.Events {
		kinds = append(kinds, e.Kind)
	}
	for _, k := range []path.EventKind{path.Bound, path.VMMFound, path.VMMExited, path.CarrierLost, path.Problem, path.Unbound} {
		if !slices.Contains(kinds, k) {
			t.Errorf("no %s among %v", k, kinds)
		}
	}
	for _, p := range []path.Phase{path.SlotReady, path.VMMStarted, path.TapAttached, path.EnvdHealthy} {
		if got.Boot.At(p).IsZero() {
			t.Errorf("the boot's %s was not seen", p)
		}
	}
	for _, p := range []path.Phase{path.GuestFrame, path.ARPAnswered, path.SYNACK} {
		if !got.Boot.At(p).IsZero() {
			t.Errorf("the boot has %s, yet there was no guest", p)
		}
	}
	h.hasLine(`tapwatch_sandbox_boot_phase_seconds_count{phase="envd_healthy"} 1`)
	h.hasLine(`tapwatch_capability{name="vmm_exits"} 1`)
}

// A VMM that lets go of its tap and lives: the carrier went first.
func TestCarrierGoesBeforeTheVMM(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.bind(registry.Booting) // its VMM is this test
	h.until("bound", func(s path.Slot) bool { return s.Sandbox != nil && s.Device.Exists == path.Yes })
	tap := nettest.AttachTap(t, h.slot.Netns, "tap0")
	h.until("carrier", func(s path.Slot) bool { return s.Device.Carrier == path.Yes })
	tap.Close()
	h.until("lost", func(s path.Slot) bool { return s.Device.Carrier == path.No })
	got, err := h.client.History(t.Context(), "itest")
	if err != nil || got.LastLoss() != "the carrier went while the VMM ran" {
		t.Errorf("%q, %v", got.LastLoss(), err)
	}
}

// A sandbox from before the agent has a boot of which nothing was seen.
func TestBootBeforeTheAgent(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.bind(registry.Running)
	h.slot.Sandbox.CreatedAt = time.Now().Add(-time.Hour)
	h.slot.Sandbox.ID = "iold"
	h.put()
	s := h.until("bound", func(s path.Slot) bool { return s.Sandbox != nil && s.Sandbox.ID == "iold" })
	if s.Sandbox.Boot == nil || s.Sandbox.Boot.Watched || len(s.Sandbox.Boot.Steps()) != 0 {
		t.Errorf("got %+v", s.Sandbox.Boot)
	}
}
