// Package templatetest gives tests real templates, built once and kept in the
// repository's .cache directory as long as their inputs are the same.
package templatetest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"tapwatch/internal/nettest"
	"tapwatch/internal/sandbox/template"
)

// Store returns a store that holds every variant, with envd built from this tree.
// It belongs to all tests of all packages: read it, and build nothing else in it.
func Store(t testing.TB) template.Store {
	t.Helper()
	nettest.NeedRoot(t)
	dir := filepath.Join(Root(t), ".cache", "templates")
	envd := Envd(t)
	for _, v := range template.Variants() {
		o := template.BuildOptions{Dir: dir, Variant: v, EnvdPath: envd, Step: func(what string) { t.Log(what) }}
		if _, err := template.Build(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	return template.Store{Dir: dir}
}

// Find returns the template of that alias from Store.
func Find(t testing.TB, alias string) template.Template {
	t.Helper()
	found, err := Store(t).Find(alias)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// Envd builds the guest daemon, always into the same bytes, and returns its path.
func Envd(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "envd")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", path, "./cmd/envd")
	cmd.Dir = Root(t)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH=amd64")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build envd: %v\n%s", err, out)
	}
	return path
}

// Root returns the repository's top directory.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
	}
	t.Fatal("no go.mod above the test")
	return ""
}
