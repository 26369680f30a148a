package scale

import (
	"fmt"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"tapwatch/internal/sandbox/network"
)

// A running agent has, in every thread, the capabilities that its mode uses and
// no others, and with them it does its work for slots that come later.
func TestAgentKeepsWhatItsModeNeeds(t *testing.T) {
	bin := build(t)
	always := []uint{unix.CAP_BPF, unix.CAP_PERFMON, unix.CAP_NET_ADMIN, unix.CAP_NET_BROADCAST, unix.CAP_NET_RAW, unix.CAP_SYS_PTRACE}
	for mode, keeps := range map[string][]uint{
		"auto":       append(always[:len(always):len(always)], unix.CAP_SYS_ADMIN),
		"tc":         append(always[:len(always):len(always)], unix.CAP_SYS_ADMIN),
		"tracepoint": always,
	} {
		t.Run(mode, func(t *testing.T) {
			f := makeFleet(t, 2, 1)
			w := watch(t, bin, f.dir, "--attach-mode", mode)
			w.until("ready", w.ready)
			f.n = 3
			if err := network.Create(network.Slot{Index: 3}); err != nil {
				t.Fatal(err)
			}
			w.until("all slots hooked", func() bool { return w.sum("tapwatch_probe_attached") == 3 })
			w.until("relay and holder of the bound one seen", func() bool {
				return w.sum("tapwatch_tap_holders") >= 1 && w.sum("tapwatch_network_carrier") == 1
			})
			var want int64
			for _, bit := range keeps {
				want |= 1 << bit
			}
			tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", w.pid()))
			if err != nil || len(tasks) < 2 {
				t.Fatal(tasks, err)
			}
			for _, task := range tasks {
				for _, set := range []string{"CapEff", "CapPrm"} {
					if got := hexField(t, task, set); got != want {
						t.Errorf("%s: %s is %#x, want %#x", task, set, got, want)
					}
				}
			}
			for _, bit := range []string{"cap_bpf", "cap_perfmon", "cap_net_admin", "cap_net_broadcast", "cap_sys_ptrace"} {
				if got := w.sum(`tapwatch_capability{name="` + bit + `"}`); got != 1 {
					t.Errorf("%s is %g", bit, got)
				}
			}
			w.p.Stop(t)
			if code := w.p.ExitCode(); code != 0 {
				t.Errorf("ended with %d: %s", code, w.p.Output())
			}
		})
	}
}

func hexField(t *testing.T, file, name string) (n int64) {
	t.Helper()
	s, err := stringField(file, name)
	if err == nil {
		_, err = fmt.Sscanf(s, "%x", &n)
	}
	if err != nil {
		t.Fatal(err)
	}
	return n
}
