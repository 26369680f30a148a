package scale

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"tapwatch/internal/netns"
	"tapwatch/internal/sandbox/network"
)

const restartSlots = 20

// filterIDs returns the programs of all filters on the taps: they are other ones
// wherever a filter was made or swapped.
func (f *fleet) filterIDs(t *testing.T) (ids [][]int) {
	t.Helper()
	for i := range f.n {
		s := network.Slot{Index: i + 1}
		var of []int
		err := netns.Do(s.Netns(), func() error {
			l, err := netlink.LinkByName(s.Tap())
			if err != nil {
				return err
			}
			for _, parent := range []uint32{netlink.HANDLE_MIN_INGRESS, netlink.HANDLE_MIN_EGRESS} {
				filters, err := netlink.FilterList(l, parent)
				if err != nil {
					return err
				}
				for _, f := range filters {
					of = append(of, f.(*netlink.BpfFilter).Id) // there are no others
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, of)
	}
	return ids
}

// hooked waits until all taps carry hooks and the first one's counters are told.
func (w *watcher) hooked(slots int) {
	w.t.Helper()
	w.hookedAll(slots)
	w.until("counters of the bound one", func() bool { _, _, ok := w.received(); return ok })
}

// begin starts an agent on a new fleet, and frames once they will be counted.
func begin(t testing.TB, bin string, slots int) (*fleet, *watcher, *guest) {
	t.Helper()
	f := makeFleet(t, slots, 1)
	w := watch(t, bin, f.dir, "--attach-mode", "tc")
	w.hooked(f.n)
	g := speak(t, f.taps[0])
	w.until("frames counted", func() bool { n, _, _ := w.received(); return n > 0 })
	return f, w, g
}

// An agent that was killed is followed by another while frames come in: every one
// is counted, and no filter is touched.
func TestRestartAfterSIGKILL(t *testing.T) {
	bin := build(t)
	f, w, g := begin(t, bin, restartSlots)
	filters := f.filterIDs(t)
	killed := time.Now()
	w.p.Kill()
	w = watch(t, bin, f.dir, "--attach-mode", "tc")
	w.hooked(f.n)
	_, created, _ := w.received()
	if !created.Before(killed) {
		t.Errorf("counters began at %v, after the kill at %v", created, killed)
	}
	sent := float64(g.stop())
	w.until("every frame counted", func() bool { n, _, _ := w.received(); return n >= sent })
	if n, _, _ := w.received(); n != sent {
		t.Errorf("%g frames counted of %g", n, sent)
	}
	if after := f.filterIDs(t); !reflect.DeepEqual(filters, after) {
		t.Errorf("filters were %v, are %v", filters, after)
	}
}

// An agent that was ended leaves nothing behind. The next one counts anew, says
// so, and misses nothing from then on.
func TestRestartAfterSIGTERM(t *testing.T) {
	bin := build(t)
	f, w, g := begin(t, bin, restartSlots)
	w.p.Stop(t)
	if code := w.p.ExitCode(); code != 0 {
		t.Fatalf("ended with %d", code)
	}
	for i, ids := range f.filterIDs(t) {
		if len(ids) != 0 {
			t.Errorf("slot %d keeps filters %v", i+1, ids)
		}
	}
	ended := time.Now()
	before := g.stop()
	w = watch(t, bin, f.dir, "--attach-mode", "tc")
	w.hooked(f.n)
	if n, created, _ := w.received(); n != 0 || !created.After(ended) {
		t.Errorf("counts %g since %v, where it should since after %v and begin at 0; %d frames were sent before", n, created, ended, before)
	}
	g = speak(t, f.taps[0])
	w.until("frames counted", func() bool { n, _, _ := w.received(); return n > 0 })
	sent := float64(g.stop())
	w.until("every frame counted", func() bool { n, _, _ := w.received(); return n >= sent })
	if n, _, _ := w.received(); n != sent {
		t.Errorf("%g frames counted of %g", n, sent)
	}
}

// An agent of a version whose maps are others does not misread what the last one
// counted: it begins anew, says so, and swaps the filters in place.
func TestUpgradeToOtherMaps(t *testing.T) {
	old, upgraded := build(t), buildUpgraded(t)
	f, w, g := begin(t, old, restartSlots)
	filters := f.filterIDs(t)
	killed := time.Now()
	w.p.Kill()
	sent := float64(g.sent.Load())
	w = watch(t, upgraded, f.dir, "--attach-mode", "tc")
	w.hooked(f.n)
	_, created, _ := w.received()
	if !created.After(killed) {
		t.Errorf("counters began at %v, before the kill at %v", created, killed)
	}
	w.until("frames counted again", func() bool { n, _, _ := w.received(); return n > 0 })
	all := float64(g.stop())
	if n, _, _ := w.received(); n > all-sent {
		t.Errorf("%g frames counted, of %g that came after the kill", n, all-sent)
	}
	for i, ids := range f.filterIDs(t) {
		if len(ids) != 2 || ids[0] == filters[i][0] || ids[1] == filters[i][1] {
			t.Errorf("slot %d has filters %v, had %v: want each swapped", i+1, ids, filters[i])
		}
	}
}

// buildUpgraded makes an agent whose map of taps has room for twice as many.
func buildUpgraded(t *testing.T) string {
	t.Helper()
	_, here, _, _ := runtime.Caller(0)
	root := filepath.Join(filepath.Dir(here), "..", "..")
	source := filepath.Join(root, "agent", "probe", "load.go")
	code, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	const last = "	return spec, nameMaps("
	changed := strings.Replace(string(code), last, "	spec.Maps[bpf.TapMapTaps].MaxEntries *= 2\n"+last, 1)
	if changed == string(code) {
		t.Fatalf("%s has no line %q to change", source, last)
	}
	dir := t.TempDir()
	other, overlay, bin := filepath.Join(dir, "load.go"), filepath.Join(dir, "overlay"), filepath.Join(dir, "tapwatch")
	plan, err := json.Marshal(map[string]map[string]string{"Replace": {source: other}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(other, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(overlay, plan, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-overlay", overlay, "-o", bin, "./cmd/tapwatch")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return bin
}
