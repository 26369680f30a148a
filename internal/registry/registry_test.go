package registry

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tapwatch/internal/proc"
)

func TestPutListRemove(t *testing.T) {
	d := Dir(t.TempDir())
	if got, err := d.List(); err != nil || got != nil {
		t.Fatalf("empty: %v, %v", got, err)
	}
	now := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	want := Slot{
		Index: 7, Netns: "ns-7", Cookie: 99, HostVeth: "veth-7", Tap: "tap0", VpeerIP: "10.12.0.15", GuestIP: "169.254.0.21",
		Owner: proc.Process{PID: 1, Start: 2},
		Sandbox: &Sandbox{ID: "i1", State: Failed, Reason: "VMM exited", VMM: "qemu", VMMProcess: proc.Process{PID: 3, Start: 4},
			Shape: Relay, CreatedAt: now, EndAt: now.Add(time.Hour), Metadata: map[string]string{"a": "b"}},
	}
	for _, s := range []Slot{{Index: 7}, want} { // the second replaces the first
		if err := d.Put(s); err != nil {
			t.Fatal(err)
		}
	}
	got, err := d.List()
	if err != nil || !reflect.DeepEqual(got, []Slot{want}) {
		t.Fatalf("got %+v, %v, want %+v", got, err, want)
	}
	for range 2 {
		if err := d.Remove(7); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := d.List(); err != nil || len(got) != 0 {
		t.Errorf("after removal: %v, %v", got, err)
	}
	wantFiles(t, d)
}

func TestOneOfManyClaimsWins(t *testing.T) {
	d := Dir(t.TempDir())
	var won, taken atomic.Int32
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			switch err := d.Claim(Slot{Index: 3}); {
			case err == nil:
				won.Add(1)
			case errors.Is(err, ErrTaken):
				taken.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 || taken.Load() != 19 {
		t.Errorf("%d won, %d were told that it is taken", won.Load(), taken.Load())
	}
	wantFiles(t, d, "3.json")
}

func TestDamagedRecordHidesNoOther(t *testing.T) {
	d := Dir(t.TempDir())
	if err := d.Put(Slot{Index: 1}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(d.SlotsDir(), "2.json"), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := d.List()
	if len(got) != 1 || err == nil || !strings.Contains(err.Error(), "2.json") {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestSweepTakesOnlyWhatTheDeadLeft(t *testing.T) {
	d := Dir(t.TempDir())
	if err := d.Put(Slot{Index: 1}); err != nil {
		t.Fatal(err)
	}
	self, err := proc.ProcessOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for name, p := range map[string]proc.Process{".1.%.x.tmp": self, ".2.%.y.tmp": {PID: self.PID, Start: self.Start + 1}} {
		name = strings.Replace(name, "%", p.String(), 1)
		if err := os.WriteFile(filepath.Join(d.SlotsDir(), name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	removed, err := d.Sweep()
	if err != nil || len(removed) != 1 || !strings.HasPrefix(filepath.Base(removed[0]), ".2.") {
		t.Errorf("swept %v, %v", removed, err)
	}
	wantFiles(t, d, ".1."+self.String()+".x.tmp", "1.json")
}

func wantFiles(t *testing.T, d Dir, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(d.SlotsDir())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("files %q, want %q", got, want)
	}
}
