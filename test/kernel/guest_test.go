package kernel

import (
	"bufio"
	"context"
	"embed"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"tapwatch/internal/nettest"
	"tapwatch/internal/sandbox/template"
	"tapwatch/internal/sandbox/template/templatetest"
	"tapwatch/internal/sandbox/vmm"
	"tapwatch/internal/sandbox/vmm/qemu"
)

// patience is for all of it. What hangs is found out after this.
const patience = 14 * time.Minute

// modules are what Debian's kernel has as modules and the tests use; dependencies
// are found.
var modules = []string{
	"tun", "macvtap", "veth", "dummy", "ifb", "bridge", "fuse", "sch_ingress", "sch_htb", "sch_prio", "cls_bpf", "cls_matchall", "cls_u32", "act_gact", "act_mirred",
	"inet_diag", "tcp_diag", "netlink_diag", "nf_tables", "nft_chain_nat", "nft_nat",
}

//go:embed guest
var guestFiles embed.FS

// run boots a guest that runs the packages' tests, waits for its end and returns
// what it said. The guest ends with the test, also at a Ctrl-C.
func run(t *testing.T, packages []string) report {
	t.Helper()
	nettest.NeedRoot(t)
	tmpl := templatetest.Find(t, "base")
	dir := t.TempDir()
	mark := nettest.RandomName("@")
	initrd := filepath.Join(dir, "initrd.img")
	writeInitrd(t, initrd, buildTests(t, packages))

	ctx, stop := signal.NotifyContext(t.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("the guest did not end in %v", patience))
	defer cancel()
	start := time.Now()
	spec := vmm.Spec{
		SandboxID: "kernel-test", Netns: "/proc/self/ns/net", Kernel: tmpl.Kernel, Initrd: initrd,
		Cmdline: "oops=panic TAPWATCH_MARK=" + mark, VCPUs: 2, MemoryMiB: 1024, Console: filepath.Join(dir, "console"),
	}
	m, err := qemu.Start(ctx, spec, qemu.Options{Accel: qemu.TCG})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-m.Done():
		t.Logf("the guest ended after %.0f s: %v", time.Since(start).Seconds(), m.Err())
	case <-ctx.Done():
		t.Errorf("the guest is stopped: %v", context.Cause(ctx))
	}
	if err := m.Kill(); err != nil {
		t.Error(err)
	}
	return parse(string(read(t, spec.Console)), mark)
}

// buildTests compiles the packages' tests and returns their binaries' paths.
func buildTests(t *testing.T, packages []string) []string {
	t.Helper()
	dir := t.TempDir()
	args := []string{"test", "-c", "-ldflags=-s -w", "-o", dir + "/"}
	for _, pkg := range packages {
		args = append(args, "./"+pkg)
	}
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = templatetest.Root(t)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH=amd64")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build tests: %v\n%s", err, out)
	}
	built, err := filepath.Glob(filepath.Join(dir, "*.test"))
	if err != nil || len(built) != len(packages) {
		t.Fatalf("built %q of %q: %v", built, packages, err)
	}
	return built
}

func writeInitrd(t *testing.T, path string, tests []string) {
	t.Helper()
	var files []template.InitramfsFile
	add := func(name string, body []byte) {
		files = append(files, template.InitramfsFile{Name: name, Mode: 0o755, Body: body})
	}
	for from, to := range map[string]string{"init": "init", "bash": "bin/bash"} {
		body, err := guestFiles.ReadFile("guest/" + from)
		if err != nil {
			t.Fatal(err)
		}
		add(to, body)
	}
	for _, test := range tests {
		add("root/"+filepath.Base(test), read(t, test))
	}
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := bufio.NewWriter(f)
	if err := templatetest.Store(t).WriteInitramfs(w, modules, files); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
