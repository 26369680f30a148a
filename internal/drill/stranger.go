package drill

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/google/nftables"

	"tapwatch/internal/netns"
	"tapwatch/internal/sandbox"
	"tapwatch/internal/sandbox/network"
)

// How the faults of foreign launchers are drilled.

// strangers begins to drill all faults of foreign launchers at once: each waits for
// as long as the agent lets a foreign VMM boot. Met waits for the results, which
// are in the faults' order.
func (w *World) strangers(ctx context.Context, faults []Fault) (met func() ([]Result, error)) {
	var results []Result
	var err error
	done := make(chan struct{})
	if len(faults) > 0 {
		w.Step(fmt.Sprintf("%d stand-ins for Firecrackers, all at once, beside the others", len(faults)))
	}
	go func() {
		defer close(done)
		results, err = w.meet(ctx, faults)
	}()
	return func() ([]Result, error) { <-done; return results, err }
}

func (w *World) meet(ctx context.Context, faults []Fault) ([]Result, error) {
	results := make([]Result, len(faults))
	if len(faults) == 0 {
		return results, nil
	}
	dir, err := os.MkdirTemp("", "tapwatch-drill")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := copySelf(dir); err != nil {
		return nil, err
	}
	var all sync.WaitGroup
	for i, f := range faults {
		all.Go(func() {
			r := Result{Fault: f.Name, Expected: f.Expected}
			if err := w.stranger(ctx, f, dir, &r); err != nil {
				r.Right, r.Error = false, err.Error()
			}
			results[i] = r
		})
	}
	all.Wait()
	return results, nil
}

// settled is how old a stand-in is before harm is done to it: as old as VMMs are that end.
// The agent then knows it by its process, and not only by the tap that it holds.
const settled = 3 * time.Second

// stranger drills one.
func (w *World) stranger(ctx context.Context, f Fault, dir string, r *Result) (err error) {
	slot, release, err := w.Manager.Lend(ctx)
	if err != nil {
		return err
	}
	defer func() { err = joinNotNil(err, release()) }()
	if err := passIn(slot); err != nil {
		return err
	}
	ns := slot.Netns()
	if f.Slot != nil {
		undo, err := f.Slot(slot)
		if err != nil {
			return fmt.Errorf("make %s: %w", f.Name, err)
		}
		defer undo()
	}
	if f.Astray {
		other, remove, err := otherNamespace()
		if err != nil {
			return fmt.Errorf("make %s: %w", f.Name, err)
		}
		defer remove()
		ns = other
	}
	id := "drill" + strings.ToLower(rand.Text()[:8])
	if f.Elder != nil {
		_, end, err := f.Elder.stand(ns, f.User, dir, id+"elder")
		if err != nil {
			return fmt.Errorf("make %s: %w", f.Name, err)
		}
		defer end()
	}
	vmm, end, err := f.Foreign.stand(ns, f.User, dir, id)
	if err != nil {
		return fmt.Errorf("make %s: %w", f.Name, err)
	}
	defer end()
	made, patient := time.Now(), *w
	patient.Patience += foreignBoot
	b := &Box{World: &patient, Sandbox: sandbox.Sandbox{ID: id}}
	if f.Harm != nil {
		err := patient.until(ctx, func() (bool, error) {
			s, err := b.seen(ctx)
			return s != nil && len(s.Device.Holders) > 0 && s.Now.Sub(s.Sandbox.Since) > settled, err
		})
		if err != nil {
			return err
		}
		made = time.Now()
		if err := f.Harm(slot, vmm); err != nil {
			return err
		}
	}
	return patient.judge(ctx, b, f, made, r)
}

// passIn gives a slot E2B's rule for what comes in alone: by the other, its launcher
// promises its guest a way out of the host, which is not the drill's to make.
func passIn(s network.Slot) error {
	if err := network.EnableDNAT(s, true); err != nil {
		return err
	}
	return rules(s.Netns(), func(c *nftables.Conn) {
		t := &nftables.Table{Family: nftables.TableFamilyIPv4, Name: network.NATTable}
		c.FlushChain(&nftables.Chain{Table: t, Name: "postrouting"})
	})
}

// copySelf makes this program a Firecracker by name, where any user may start it.
func copySelf(dir string) error {
	if err := os.Chmod(dir, 0o777); err != nil { //nolint:gosec // a stand-in without privileges makes its socket there
		return err
	}
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer self.Close()
	to, err := os.OpenFile(filepath.Join(dir, standInName), os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, self)
	return errors.Join(err, to.Close())
}

// A shell launches each stand-in. This process cannot: it owns the records of the slots,
// and what the owner of a record launches is no stranger there. The shell waits for its
// VMM, or never does.
const (
	launches     = `exec 3<&0; "$0" "$@" <&3 & wait`
	neverReaping = `exec 3<&0; "$0" "$@" <&3 & exec sleep 3600 >/dev/null 2>&1`
)

// stand starts the stand-in inside a namespace, as a user where that is not 0, and
// waits until it can be asked.
func (s *standIn) stand(ns string, user uint32, dir, id string) (vmm *os.Process, end func(), err error) {
	does, err := json.Marshal(s)
	if err != nil {
		return nil, nil, err
	}
	script := launches
	if s.Unreaped {
		script = neverReaping
	}
	cmd := exec.CommandContext(context.Background(), "sh", "-c", script, filepath.Join(dir, standInName), "--api-sock", apiSocket(dir, id))
	cmd.Env = append(os.Environ(), standInEnv+"="+string(does))
	if user != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user}}
	}
	if _, err := cmd.StdinPipe(); err != nil { // ends with this process
		return nil, nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	var says strings.Builder
	cmd.Stderr = &says
	if err := netns.Do(ns, cmd.Start); err != nil {
		return nil, nil, err
	}
	end = func() {
		if vmm != nil {
			_ = vmm.Kill() // it may have ended
		}
		if vmm == nil || s.Unreaped {
			_ = cmd.Process.Kill()
		}
		_ = cmd.Wait()
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		end()
		return nil, nil, fmt.Errorf("the stand-in ended: %w: %s%s", err, line, strings.TrimSpace(says.String()))
	}
	pid, err := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(line, standsReady)))
	if err == nil {
		vmm, err = os.FindProcess(pid)
	}
	if err != nil {
		end()
		return nil, nil, fmt.Errorf("the stand-in said %q: %w", line, err)
	}
	return vmm, end, nil
}
