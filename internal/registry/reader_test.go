package registry

import (
	"os"
	"path/filepath"
	"testing"
)

func TestReaderReadsWhatChanged(t *testing.T) {
	d := Dir(t.TempDir())
	r := NewReader(d)
	scan := func(what string, changed bool, indexes ...int) {
		t.Helper()
		got, err := r.Scan()
		if err != nil || got != changed {
			t.Errorf("%s: changed %t, %v", what, got, err)
		}
		have := map[int]bool{}
		for _, s := range r.Slots() {
			have[s.Index] = true
		}
		if len(have) != len(indexes) {
			t.Errorf("%s: %d records, want %d", what, len(have), len(indexes))
		}
		for _, i := range indexes {
			if !have[i] {
				t.Errorf("%s: no record of slot %d", what, i)
			}
		}
	}
	put := func(s Slot) {
		t.Helper()
		if err := d.Put(s); err != nil {
			t.Fatal(err)
		}
	}
	scan("no directory", false)
	put(Slot{Index: 1})
	put(Slot{Index: 2})
	scan("two", true, 1, 2)
	put(Slot{Index: 2, Netns: "other"})
	scan("one replaced", true, 1, 2)
	for _, s := range r.Slots() {
		if s.Index == 2 && s.Netns != "other" {
			t.Error("the old record is still there")
		}
	}
	if err := d.Remove(1); err != nil {
		t.Fatal(err)
	}
	if changed, err := r.Look("1.json"); !changed || err != nil {
		t.Errorf("a removal: %t, %v", changed, err)
	}
	scan("the removal again", r.youngest(), 2)
	if err := os.WriteFile(filepath.Join(d.SlotsDir(), "3.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if changed, err := r.Scan(); !changed || err == nil || len(r.Slots()) != 1 {
		t.Errorf("a damaged record: %t, %v, %d records", changed, err, len(r.Slots()))
	}
	if _, err := r.Look("3.json"); err == nil {
		t.Error("a damaged record is forgotten")
	}
}

// youngest says whether a record is so new that it is read again in any case.
func (r *Reader) youngest() bool {
	for _, rec := range r.read {
		if !same(rec.file, rec.file) {
			return true
		}
	}
	return false
}

// A record that cannot be read, such as where no file descriptor is left, keeps what it
// said. Whether it still stands can be asked all the same.
func TestUnreadableRecordIsKept(t *testing.T) {
	d := Dir(t.TempDir())
	if err := d.Put(Slot{Index: 1, Sandbox: &Sandbox{ID: "i1", State: Running}}); err != nil {
		t.Fatal(err)
	}
	r := NewReader(d)
	if changed, err := r.Scan(); !changed || err != nil {
		t.Fatal(changed, err)
	}
	was := r.Slots()[0]
	if !d.Stands(1, was.Stamp) {
		t.Error("the record that was read does not stand")
	}
	file := filepath.Join(d.SlotsDir(), "1.json")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if d.Stands(1, was.Stamp) {
		t.Error("a record that has gone stands")
	}
	if err := os.Mkdir(file, 0o755); err != nil { // which is there and cannot be read
		t.Fatal(err)
	}
	if changed, err := r.Scan(); changed || err == nil || len(r.Slots()) != 1 || r.Slots()[0].Sandbox.ID != "i1" {
		t.Errorf("changed %t, %v, %+v", changed, err, r.Slots())
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := d.Put(Slot{Index: 1, Sandbox: &Sandbox{ID: "i1", State: Ending}}); err != nil {
		t.Fatal(err)
	}
	if d.Stands(1, was.Stamp) {
		t.Error("a record that was replaced stands")
	}
	if changed, err := r.Scan(); !changed || err != nil || r.Slots()[0].Sandbox.State != Ending || !d.Stands(1, r.Slots()[0].Stamp) {
		t.Errorf("changed %t, %v, %+v", changed, err, r.Slots())
	}
}
