package sandbox

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
	"tapwatch/internal/proc"
	"tapwatch/internal/registry"
	"tapwatch/internal/sandbox/network"
)

// TestMain lets this test binary be a launcher of its own, to be killed.
func TestMain(m *testing.M) {
	if os.Getenv("TAPWATCH_TEST_LAUNCHER") != "" {
		launch(os.Args[1], os.Args[2], os.Args[3])
		return
	}
	os.Exit(m.Run())
}

// launch runs a sandbox and keeps it until somebody kills the process.
func launch(runDir, dataDir, first string) {
	index, _ := strconv.Atoi(first)
	m, err := New(Config{RunDir: runDir, DataDir: dataDir, FirstSlot: index, PoolSize: 1, Log: slog.New(slog.DiscardHandler)})
	if err == nil {
		_, err = m.Create(context.Background(), CreateRequest{Template: "base"})
	}
	if err != nil {
		fmt.Println("error:", err)
		return
	}
	for m.pool.Idle() == 0 {
		time.Sleep(time.Millisecond)
	}
	fmt.Println("ready")
	select {}
}

// killedLauncher returns the slots that a launcher with one sandbox and one
// idle slot left when it was killed.
func killedLauncher(t *testing.T, runDir string, first int) []registry.Slot {
	t.Helper()
	cmd := osexec.Command("/proc/self/exe", runDir, dataDir(t), strconv.Itoa(first))
	cmd.Env = append(os.Environ(), "TAPWATCH_TEST_LAUNCHER=1")
	out, err := cmd.StdoutPipe()
	if err = errors.Join(err, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if kerr := cmd.Process.Kill(); kerr != nil {
		t.Fatal(kerr)
	}
	_ = cmd.Wait() // killed, as asked
	t.Cleanup(func() {
		if _, err := Cleanup(runDir); err != nil {
			t.Error(err)
		}
	})
	if line != "ready\n" || err != nil {
		t.Fatal(line, err)
	}
	left, err := registry.Dir(runDir).List()
	if err != nil || len(left) != 2 {
		t.Fatalf("the launcher left %+v, %v", left, err)
	}
	return left
}

// Exactly what the dead one left goes; what others have beside it stays.
func TestCleanupAfterAKilledLauncher(t *testing.T) {
	runDir, first := t.TempDir(), highSlot(t)
	left := killedLauncher(t, runDir, first)
	i := slices.IndexFunc(left, func(s registry.Slot) bool { return s.Sandbox != nil })
	dead := left[i].Sandbox
	if !dead.VMMProcess.Alive() {
		t.Error("the VMM did not outlive its launcher: this test shows nothing")
	}
	// As if killed before the VMM could be recorded.
	unrecorded := *dead
	unrecorded.VMMProcess = proc.Process{}
	half := left[i]
	half.Sandbox = &unrecorded
	if err := registry.Dir(runDir).Put(half); err != nil {
		t.Fatal(err)
	}
	orphanLog := filepath.Join(consoleDir(runDir), newID()+".log")
	if err := os.WriteFile(orphanLog, nil, 0o600); err != nil {
		t.Fatal(err)
	}

	foreign := nettest.Netns(t)
	stays := addVeth(t)
	living, err := network.NewPool(network.PoolConfig{Registry: registry.Dir(runDir), First: first + 4})
	if err != nil {
		t.Fatal(err)
	}
	defer living.Close()
	ours, err := living.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	alive := &registry.Sandbox{ID: "ialive", Console: filepath.Join(consoleDir(runDir), "ialive.log")}
	if err := errors.Join(living.Bind(ours, alive), os.WriteFile(alive.Console, nil, 0o600)); err != nil {
		t.Fatal(err)
	}

	report, err := Cleanup(runDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		fmt.Sprintf("VMM %d of sandbox %s", dead.VMMProcess.PID, dead.ID), "console log " + dead.Console, "console log " + orphanLog,
		"table tapwatch-host-", "namespace " + left[0].Netns, "namespace " + left[1].Netns, fmt.Sprint("record of slot ", left[0].Index), fmt.Sprint("record of slot ", left[1].Index),
	} {
		if !slices.ContainsFunc(report.Removed, func(line string) bool { return strings.Contains(line, want) }) {
			t.Errorf("removed %q: want %q among it", report.Removed, want)
		}
	}
	if len(report.Removed) != 8 || len(report.Kept) != 0 {
		t.Errorf("report %+v", report)
	}
	wantNoVMM(t, dead.ID)
	for _, s := range left {
		if network.Exists(network.Slot{Index: s.Index}) {
			t.Errorf("slot %d is left", s.Index)
		}
	}
	if _, err := netns.CookieOf(foreign); err != nil {
		t.Error("a namespace of others:", err)
	}
	if _, err := netlink.LinkByName(stays); err != nil {
		t.Error("a link of others:", err)
	}
	if _, err := os.Stat(alive.Console); err != nil || !network.Exists(ours) {
		t.Error("what a living launcher has:", err)
	}
	if again, err := Cleanup(runDir); err != nil || len(again.Removed)+len(again.Kept) != 0 {
		t.Errorf("a second time: %+v, %v", again, err)
	}
}

// A name that somebody else has taken since is theirs, and a process that has
// got a dead VMM's pid as well.
func TestCleanupLeavesWhatTookItsPlace(t *testing.T) {
	runDir, slot := t.TempDir(), network.Slot{Index: highSlot(t)}
	if err := netns.Create(slot.Netns()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := network.Remove(slot); err != nil {
			t.Error(err)
		}
	})
	bystander := osexec.Command("sleep", "60")
	if err := bystander.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := bystander.Process.Kill(); err != nil {
			t.Error("the bystander is gone:", err)
		}
		_ = bystander.Wait() // killed, as asked
	}()
	p, err := proc.ProcessOf(bystander.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	r := slot.Record(proc.Process{PID: p.PID, Start: p.Start - 1}) // a launcher long gone
	r.Cookie = 1
	elsewhere := filepath.Join(t.TempDir(), "precious.log")
	if err := os.WriteFile(elsewhere, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r.Sandbox = &registry.Sandbox{ID: "igone", VMMProcess: r.Owner, Console: elsewhere}
	if err := registry.Dir(runDir).Put(r); err != nil {
		t.Fatal(err)
	}
	report, err := Cleanup(runDir)
	if err != nil || len(report.Kept) != 1 || !strings.Contains(report.Kept[0], "namespace "+slot.Netns()) || len(report.Removed) != 1 {
		t.Errorf("report %+v, %v", report, err)
	}
	if _, err := netns.CookieOf(slot.Netns()); err != nil {
		t.Error(err)
	}
	if !p.Alive() {
		t.Error("the bystander was killed")
	}
	if _, err := os.Stat(elsewhere); err != nil {
		t.Error(err)
	}
}

func TestCleanupWithNothingThere(t *testing.T) {
	report, err := Cleanup(filepath.Join(t.TempDir(), "none"))
	if err != nil || len(report.Removed)+len(report.Kept) != 0 {
		t.Errorf("report %+v, %v", report, err)
	}
}

// Where a wrong directory was named, or none, nobody's files go.
func TestCleanupOfAnotherDirectory(t *testing.T) {
	dir := t.TempDir()
	log := filepath.Join(dir, "console", "important.log")
	if err := os.MkdirAll(filepath.Dir(log), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(log, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	if _, err := Cleanup(""); err == nil || !strings.Contains(err.Error(), "no run directory") {
		t.Errorf("no directory: %v", err)
	}
	if report, err := Cleanup(dir); err != nil || len(report.Removed) != 0 {
		t.Errorf("report %+v, %v", report, err)
	}
	if _, err := os.Stat(log); err != nil {
		t.Error(err)
	}
	if id := newID(); !isID(id) || isID("important") || isID("../"+id[3:]) {
		t.Errorf("%s is no id, or others are", id)
	}
}

// A record that cannot be read is said, and hides no other.
func TestCleanupWithADamagedRecord(t *testing.T) {
	runDir := t.TempDir()
	dir := registry.Dir(runDir)
	if err := dir.Put(network.Slot{Index: highSlot(t)}.Record(proc.Process{PID: 1, Start: 1})); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir.SlotsDir(), "2.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	report, err := Cleanup(runDir)
	if err == nil || !strings.Contains(err.Error(), "2.json") || len(report.Removed) != 1 {
		t.Errorf("report %+v, %v", report, err)
	}
}

func addVeth(t *testing.T) string {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = nettest.RandomName("twt")
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: nettest.RandomName("twp")}
	if err := netlink.LinkAdd(veth); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := netlink.LinkDel(veth); err != nil {
			t.Error(err)
		}
	})
	return attrs.Name
}
