package qemu

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// probeTime is what a guest gets to reach user space under KVM. One that really
// runs there needs 0.3 s; one that hangs is found out after this.
const probeTime = 3 * time.Second

// probeWord is what the probed guest's first program is asked to say.
const probeWord = "tapwatch-reached-user-space"

// ErrNotKept is returned beside a verdict that could not be written down: it holds, and
// the next process has to find out again.
var ErrNotKept = errors.New("whether KVM works could not be kept")

// probing lets machines that start together share one probe.
var probing sync.Mutex

// known is this process's verdict, guarded by probing.
var known Verdict

// Probe finds out whether KVM works, not whether /dev/kvm is there: it boots the
// kernel and initrd that the caller is about to use, and waits until the first
// program in user space speaks. That takes 0.3 s where KVM works, probeTime
// where a guest hangs, and nothing where the device cannot be opened. The verdict
// is kept in runDir/kvm.json until the next boot of the host, so that only the
// first machine waits; a launcher that wants none to wait calls Probe as it starts.
// An initrd of others does not speak, and so is taken to not work under KVM.
func Probe(ctx context.Context, kernel, initrd, runDir string) (Verdict, error) {
	probing.Lock()
	defer probing.Unlock()
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return Verdict{}, fmt.Errorf("probe KVM: %w", err)
	}
	bootID := strings.TrimSpace(string(boot))
	if v, err := readVerdict(runDir); err == nil && v.BootID == bootID {
		return v, nil
	}
	if known.BootID == bootID { // it could not be kept
		return known, nil
	}
	if initrd == "" {
		return Verdict{Reason: "this template has no initrd that could answer a probe"}, nil // another's may: not kept
	}
	qemu, err := find()
	if err != nil {
		return Verdict{}, err
	}
	v := Verdict{BootID: bootID}
	if err := bootOnce(ctx, qemu, kernel, initrd); err != nil {
		if ctx.Err() != nil {
			return Verdict{}, fmt.Errorf("probe KVM: %w", context.Cause(ctx))
		}
		v.Reason = err.Error()
	}
	v.KVM = v.Reason == ""
	known = v
	if err := v.write(runDir); err != nil {
		return v, fmt.Errorf("%w: %w", ErrNotKept, err)
	}
	return v, nil
}

// bootOnce boots a guest without disk and NIC, and returns nil once it has spoken.
func bootOnce(ctx context.Context, qemu, kernel, initrd string) error {
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	f.Close()
	ctx, cancel := context.WithTimeoutCause(ctx, probeTime, fmt.Errorf("a guest did not reach user space in %v", probeTime))
	defer cancel()
	cmd := exec.CommandContext(ctx, qemu, append(base(KVM, 1), "-m", "128M", "-kernel", kernel, "-initrd", initrd, "-serial", "stdio",
		"-append", kernelArguments(KVM, "TAPWATCH_PROBE="+probeWord))...)
	runtime.LockOSThread() // Pdeathsig is about the thread: a guest that hangs must not outlive a killed launcher
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	spoke := contains(out, probeWord)
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if spoke {
		return nil
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return fmt.Errorf("QEMU ended before a guest reached user space: %s", lastLine(stderr.String()))
}

// contains reads until a line holds the word (true) or the end (false).
func contains(r io.Reader, word string) bool {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		// The kernel's echo of its arguments does not count.
		if strings.HasPrefix(lines.Text(), "init: "+word) {
			return true
		}
	}
	return false
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return strings.TrimSpace(s[strings.LastIndexByte(s, '\n')+1:])
}
