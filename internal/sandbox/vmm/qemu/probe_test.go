package qemu

import (
	"testing"

	"tapwatch/internal/sandbox/template/templatetest"
)

func TestProbe(t *testing.T) {
	t.Parallel()
	tmpl := templatetest.Find(t, "base")
	run := t.TempDir()
	v, err := Probe(t.Context(), tmpl.Kernel, tmpl.Initrd, run)
	if err != nil {
		t.Fatal(err)
	}
	if v.KVM == (v.Reason != "") {
		t.Errorf("verdict %+v: a reason belongs to no, and only to no", v)
	}
	t.Logf("verdict: %+v", v)
	// The second asks nobody: a kernel that does not exist cannot have been booted.
	again, err := Probe(t.Context(), "/nonexistent", "/nonexistent", run)
	if err != nil || again != v {
		t.Errorf("second verdict %+v, %v, not %+v", again, err, v)
	}
	// A verdict of another boot is none, and a kernel that does not exist boots nowhere.
	old := Verdict{KVM: true, BootID: "another"}
	if err := old.write(run); err != nil {
		t.Fatal(err)
	}
	if v, err := Probe(t.Context(), "/nonexistent", "/nonexistent", run); err != nil || v.KVM || v.Reason == "" {
		t.Errorf("verdict %+v, %v from a kernel that does not exist", v, err)
	}
}
