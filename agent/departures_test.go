package agent

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tapwatch/agent/path"
	"tapwatch/internal/proc"
	"tapwatch/internal/registry"
)

// firecracker starts a process in the slot's namespace that looks like E2B's VMM
// and holds the tap. The slot is another's: what its own launcher starts is its own.
func (h *host) firecracker(sandboxID string) *exec.Cmd {
	h.t.Helper()
	other, err := proc.ProcessOf(1)
	if err != nil {
		h.t.Fatal(err)
	}
	h.slot.Owner = other
	h.put()
	vmm := play(h.t, standIn{program: "firecracker", args: []string{"--api-sock", filepath.Join(h.t.TempDir(), "fc-"+sandboxID+"-r4nd.sock")},
		ns: h.slot.Netns, taps: []string{"tap0"}})
	h.agent.discover.Rescan()
	h.until("the VMM of "+sandboxID, func(s path.Slot) bool {
		return s.Sandbox != nil && s.Sandbox.ID == sandboxID && s.Device.Carrier == path.Yes && len(s.Device.Holders) == 1
	})
	return vmm.Cmd
}

// A foreign VMM that ended as nobody wanted is found, though its launcher keeps no
// record; one that its launcher ended leaves an idle slot and no finding.
func TestForeignVMMEnds(t *testing.T) {
	h := start(t)
	h.until("idle", func(s path.Slot) bool { return s.Diagnosis.State == path.Idle && s.Traffic != nil })

	crashed := h.firecracker("icrash")
	if err := exec.CommandContext(t.Context(), "sh", "-c", fmt.Sprintf("kill -KILL %d", crashed.Process.Pid)).Run(); err != nil {
		t.Fatal(err)
	}
	_ = crashed.Wait()
	s := h.until("vmm-exited", func(s path.Slot) bool { return code(s) == "vmm-exited" })
	if e := strings.Join(s.Diagnosis.Findings[0].Evidence, "\n"); !strings.Contains(e, "was killed by SIGKILL from sh (pid ") {
		t.Errorf("evidence:\n%s", e)
	}
	h.agent.discover.Rescan()
	time.Sleep(5 * h.agent.cfg.Every)
	h.until("still vmm-exited", func(s path.Slot) bool { return code(s) == "vmm-exited" && s.Sandbox.VMMAlive == path.No })

	wanted := h.firecracker("iwanted") // takes the slot over
	if err := wanted.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = wanted.Wait()
	h.until("idle again", func(s path.Slot) bool { return s.Diagnosis.State == path.Idle && s.Sandbox == nil })
	got, err := h.client.History(t.Context(), "iwanted")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range got.Events {
		if e.Kind == path.Problem {
			t.Errorf("a VMM that its launcher ended is a problem: %s", e)
		}
	}
}

// What was kept of a foreign sandbox goes after a while.
func TestDepartureIsBounded(t *testing.T) {
	h := start(t)
	h.until("idle", func(s path.Slot) bool { return s.Diagnosis.State == path.Idle && s.Traffic != nil })
	crashed := h.firecracker("icrash")
	if err := exec.CommandContext(t.Context(), "sh", "-c", fmt.Sprintf("kill -SEGV %d", crashed.Process.Pid)).Run(); err != nil {
		t.Fatal(err)
	}
	_ = crashed.Wait()
	h.until("vmm-exited", func(s path.Slot) bool { return code(s) == "vmm-exited" && s.Sandbox.VMMAlive == path.No })
	h.agent.discover.Rescan()
	h.until("still vmm-exited", func(s path.Slot) bool { return code(s) == "vmm-exited" })
	h.until("idle", func(s path.Slot) bool {
		h.agent.slots.Tick(1, time.Now().Add(time.Hour)) // again where the process was seen once more meanwhile
		return s.Diagnosis.State == path.Idle && s.Sandbox == nil
	})
}

// A sandbox that is being removed is not broken by what is taken away of it, until
// that takes too long. What is taken away is heard of before the record is read.
func TestRemovalIsNoProblem(t *testing.T) {
	h := start(t)
	h.until("idle", func(s path.Slot) bool { return s.Diagnosis.State == path.Idle && s.Traffic != nil })
	cmd := h.vmm()
	h.slot.Sandbox.State = registry.Running
	h.put()
	h.until("running", func(s path.Slot) bool { return s.Device.Carrier == path.Yes && s.Sandbox != nil && !s.Sandbox.Booting })
	h.slot.Sandbox.State = registry.Ending
	h.put()
	h.relay.Close()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	h.until("its VMM gone", func(s path.Slot) bool {
		return s.Sandbox != nil && s.Sandbox.VMMAlive == path.No && s.Device.Carrier == path.No && s.Diagnosis.State == path.Idle
	})
	got, err := h.client.History(t.Context(), "itest")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range got.Events {
		for _, code := range []string{"vmm-exited", "relay-not-listening"} {
			if e.Kind == path.Problem && strings.HasPrefix(e.Text, code) {
				t.Errorf("a problem of its removal: %s", e)
			}
		}
	}
}
