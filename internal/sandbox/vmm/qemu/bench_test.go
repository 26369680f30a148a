package qemu

import (
	"testing"

	"tapwatch/internal/sandbox/template/templatetest"
)

// BenchmarkBoot is from starting the VMM to envd healthy, under emulation.
func BenchmarkBoot(b *testing.B) {
	tmpl := templatetest.Find(b, "base")
	for b.Loop() {
		b.StopTimer()
		ns := slot(b)
		s := spec(b, ns, tmpl)
		b.StartTimer()
		m := start(b, s)
		c := guest(ns)
		waitFor(b, m, "envd healthy", func() bool { return c.Health(b.Context()) == nil })
		b.StopTimer()
		if err := m.Kill(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}
