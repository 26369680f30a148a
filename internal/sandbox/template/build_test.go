package template_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"tapwatch/internal/nettest"
	"tapwatch/internal/sandbox/template"
	"tapwatch/internal/sandbox/template/templatetest"
)

// debugfs asks e2fsprogs what is in an image: the oracle for what we put there.
func debugfs(t *testing.T, image, request string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "/usr/sbin/debugfs", "-R", request, image).CombinedOutput()
	if err != nil {
		t.Fatalf("debugfs %s: %v\n%s", request, err, out)
	}
	return string(out)
}

func TestImages(t *testing.T) {
	store := templatetest.Store(t)
	tests := []struct {
		alias        string
		driver, envd bool
	}{
		{alias: "base", driver: true, envd: true},
		{alias: "no-driver", envd: true},
		{alias: "no-envd", driver: true},
	}
	for _, tt := range tests {
		t.Run(tt.alias, func(t *testing.T) {
			found, err := store.Find(tt.alias)
			if err != nil {
				t.Fatal(err)
			}
			release, _, _ := strings.Cut(found.KernelVersion, "_")
			has := func(path string) bool {
				return !strings.Contains(debugfs(t, found.Rootfs, "stat "+path), "File not found")
			}
			for path, want := range map[string]bool{
				"/usr/sbin/init": true, "/usr/bin/bash": true, "/usr/bin/python3": true, "/etc/passwd": true, "/usr/bin/envd": tt.envd,
				"/usr/lib/modules/" + release + "/kernel/drivers/net/net_failover.ko": true,
				"/usr/lib/modules/" + release + "/kernel/drivers/net/virtio_net.ko":   tt.driver,
			} {
				if has(path) != want {
					t.Errorf("%s is there: %v, want %v", path, !want, want)
				}
			}
			if home := debugfs(t, found.Rootfs, "stat /home/user"); !strings.Contains(home, "User:  1000") {
				t.Errorf("home belongs to others:\n%s", home)
			}
			if init := debugfs(t, found.Rootfs, "cat /usr/sbin/init"); !strings.Contains(init, "\n#!/bin/busybox sh\n") {
				t.Errorf("init begins with %q", init[:min(80, len(init))])
			}
			if out, err := exec.CommandContext(t.Context(), "/usr/sbin/e2fsck", "-fn", found.Rootfs).CombinedOutput(); err != nil {
				t.Errorf("e2fsck: %v\n%s", err, out)
			}
		})
	}
}

// TestBuildAgain needs neither network nor tools for what is there.
func TestBuildAgain(t *testing.T) {
	store := templatetest.Store(t)
	o := template.BuildOptions{Dir: store.Dir, EnvdPath: templatetest.Envd(t)}
	o.Step = func(what string) { t.Errorf("%s, though nothing changed", what) }
	before := templatetest.Find(t, "base")
	t.Setenv("PATH", t.TempDir())
	again, err := template.Build(t.Context(), o)
	if err != nil || again.BuildID != before.BuildID {
		t.Errorf("build %s, %v, want %s", again.BuildID, err, before.BuildID)
	}
}

// ownData makes a data directory that shares the unpacked packages.
func ownData(t *testing.T) string {
	t.Helper()
	from := filepath.Join(templatetest.Store(t).Dir, "cache")
	dir, err := os.MkdirTemp(filepath.Join(templatetest.Root(t), ".cache"), "data-") // beside: hard links
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if out, err := exec.CommandContext(t.Context(), "cp", "-al", from, filepath.Join(dir, "cache")).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return dir
}

func TestBuildTwiceAtOnce(t *testing.T) {
	dir, envd := ownData(t), templatetest.Envd(t)
	ids := make([]string, 3)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			built, err := template.Build(t.Context(), template.BuildOptions{Dir: dir, EnvdPath: envd})
			if err != nil {
				t.Error(err)
			}
			ids[i] = built.BuildID
		})
	}
	wg.Wait()
	if ids[0] == "" || ids[0] != ids[1] || ids[0] != ids[2] {
		t.Errorf("builds %q", ids)
	}
	noHalfMade(t, dir)
}

// noHalfMade fails the test where work directories are left.
func noHalfMade(t *testing.T, dir string) {
	t.Helper()
	for _, sub := range []string{"", "templates", "kernels", "cache", "aliases"} {
		if left, _ := filepath.Glob(filepath.Join(dir, sub, ".tmp-*")); len(left) != 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}

func TestNewEnvdIsANewBuild(t *testing.T) {
	dir, envd := ownData(t), templatetest.Envd(t)
	o := template.BuildOptions{Dir: dir, EnvdPath: envd}
	first, err := template.Build(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(envd, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("changed"); err != nil {
		t.Fatal(err)
	}
	f.Close()
	second, err := template.Build(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if first.BuildID == second.BuildID {
		t.Error("the same build of another envd")
	}
	if found, err := (template.Store{Dir: dir}).Find("base"); err != nil || found.BuildID != second.BuildID {
		t.Errorf("alias leads to %s, %v, want %s", found.BuildID, err, second.BuildID)
	}
}

func TestBuildMendsADamagedOne(t *testing.T) {
	dir, envd := ownData(t), templatetest.Envd(t)
	o := template.BuildOptions{Dir: dir, EnvdPath: envd}
	built, err := template.Build(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{built.Rootfs, built.Kernel, built.Initrd} {
		if err := os.Truncate(path, 4096); err != nil {
			t.Fatal(err)
		}
		if _, err := (template.Store{Dir: dir}).Find("base"); !errors.Is(err, template.ErrDamaged) {
			t.Fatalf("find with half a %s: %v, want ErrDamaged", filepath.Base(path), err)
		}
		if _, err := template.Build(t.Context(), o); err != nil {
			t.Errorf("build with half a %s: %v", filepath.Base(path), err)
		}
	}
}

// TestKilledBuildLeavesNothing: the next build removes what a killed one could not.
func TestKilledBuildLeavesNothing(t *testing.T) {
	dir := ownData(t)
	for _, sub := range []string{"templates", "kernels", "cache"} {
		if err := os.MkdirAll(filepath.Join(dir, sub, ".tmp-1234", "root"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := template.Build(t.Context(), template.BuildOptions{Dir: dir, EnvdPath: templatetest.Envd(t)}); err != nil {
		t.Fatal(err)
	}
	noHalfMade(t, dir)
}

func TestInterruptedBuildLeavesNothing(t *testing.T) {
	nettest.NeedRoot(t)
	for _, during := range []string{"resolving packages", "downloading", "unpacking packages"} {
		t.Run(during, func(t *testing.T) {
			dir := t.TempDir()
			ctx, cancel := context.WithCancel(t.Context())
			o := template.BuildOptions{Dir: dir, Variant: template.NoEnvd, Step: func(what string) {
				if strings.HasPrefix(what, during) {
					cancel()
				}
			}}
			if _, err := template.Build(ctx, o); !errors.Is(err, context.Canceled) {
				t.Errorf("error %v, want context.Canceled", err)
			}
			noHalfMade(t, dir)
		})
	}
}

func TestBuildErrors(t *testing.T) {
	nettest.NeedRoot(t)
	dir := t.TempDir()
	script := filepath.Join(dir, "script")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		o    template.BuildOptions
		says string
	}{
		{name: "no envd", o: template.BuildOptions{EnvdPath: "/nonexistent/envd"}, says: "name it with --envd"},
		{name: "envd is a script", o: template.BuildOptions{EnvdPath: script}, says: "not an ELF executable"},
		{name: "envd needs libraries", o: template.BuildOptions{EnvdPath: "/bin/sh"}, says: "not statically linked"},
		{name: "unknown variant", o: template.BuildOptions{Variant: "no-kernel"}, says: "one of [default no-driver no-envd"},
		{name: "no apt-get", o: template.BuildOptions{Variant: template.NoEnvd}, says: "apt-get not found: install Debian's package apt"},
	}
	t.Setenv("PATH", t.TempDir())
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.o.Dir = filepath.Join(dir, "data")
			_, err := template.Build(t.Context(), tt.o)
			if err == nil || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %v, want one line with %q", err, tt.says)
			}
			noHalfMade(t, tt.o.Dir)
		})
	}
}
