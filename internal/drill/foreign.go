package drill

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tapwatch/agent/path"
	"tapwatch/internal/e2b"
	"tapwatch/internal/netns"
	"tapwatch/internal/sandbox"
	"tapwatch/internal/sandbox/network"
)

const (
	guestMAC = e2b.GuestMAC
	// nobody is whom a stand-in runs as that may not open its tap, another its owner.
	nobody, another = 65534, 4242
	// foreignBoot is how long a VMM of another launcher may boot until the agent
	// calls it broken.
	foreignBoot = 30 * time.Second
)

// What can be wrong with a Firecracker that another launched, in a slot of E2B's
// topology: a stand-in, since a real one is not to be had everywhere.
var foreignFaults = []Fault{
	{
		Name: "fc-no-nic", What: "a Firecracker was given no network interface",
		Hop: path.Tap, Expected: "vmm-no-nic", Foreign: &standIn{State: path.VMMRunning},
	},
	{
		Name: "fc-not-started", What: "a Firecracker was never told to start its guest",
		Hop: path.Guest, Expected: "vmm-not-started", Foreign: attached(path.VMMNotStarted),
	},
	{
		Name: "fc-paused", What: "a Firecracker's vCPUs are paused",
		Hop: path.Guest, Expected: "vmm-paused", Foreign: attached(path.VMMPaused),
	},
	{
		Name: "fc-api-silent", What: "a Firecracker answers neither its API nor for its guest",
		Hop: path.Guest, Expected: "vmm-api-silent", Foreign: attached(""),
	},
	{
		Name: "fc-no-vnet-hdr", What: "a Firecracker's tap is open without the header that its frames have",
		Hop: path.Tap, Expected: "tap-no-vnet-hdr", Foreign: &standIn{State: path.VMMRunning, NIC: true, Attach: true},
	},
	{
		Name: "fc-zombie", What: "a Firecracker gets SIGKILL, and its launcher does not wait for it",
		Hop: path.Tap, Expected: "vmm-zombie", Foreign: attached(path.VMMRunning),
		Harm: func(_ network.Slot, vmm *os.Process) error { return vmm.Kill() },
	},
	{
		Name: "neighbour-stale", What: "the namespace has another hardware address for a Firecracker's guest, for good",
		Hop: path.Guest, Expected: "guest-mac-mismatch", Foreign: attached(path.VMMRunning),
		Slot: func(s network.Slot) error {
			return inNetns(s.Netns(), s.Tap(), func(l netlink.Link) error {
				return netlink.NeighSet(&netlink.Neigh{LinkIndex: l.Attrs().Index, State: netlink.NUD_PERMANENT, IP: s.GuestIP().AsSlice(), HardwareAddr: net.HardwareAddr{2, 0xfc, 0, 0, 0, 0x77}})
			})
		},
	},
	{
		Name: "tap-of-another", What: "the tap belongs to another user than a Firecracker without privileges",
		Hop: path.Tap, Expected: "tap-owner", Foreign: &standIn{State: path.VMMRunning}, User: nobody,
		Slot: func(s network.Slot) error {
			return netns.Do(s.Netns(), func() error {
				tap, err := openTap(s.Tap(), unix.IFF_TAP|unix.IFF_NO_PI|unix.IFF_VNET_HDR)
				if err != nil {
					return err
				}
				defer tap.Close()
				return unix.IoctlSetInt(int(tap.Fd()), unix.TUNSETOWNER, another)
			})
		},
	},
	{
		Name: "tap-multi-queue", What: "the tap is multi-queue, so a Firecracker could not open it",
		Hop: path.Tap, Expected: "tap-multi-queue", Foreign: &standIn{State: path.VMMRunning},
		Slot: remakeMultiQueue,
	},
}

// remakeMultiQueue replaces a slot's tap by one that was made with IFF_MULTI_QUEUE.
func remakeMultiQueue(s network.Slot) error {
	err := inNetns(s.Netns(), s.Tap(), netlink.LinkDel)
	if err != nil {
		return err
	}
	err = netns.Do(s.Netns(), func() error {
		tap, err := openTap(s.Tap(), unix.IFF_TAP|unix.IFF_NO_PI|unix.IFF_VNET_HDR|unix.IFF_MULTI_QUEUE)
		if err != nil {
			return err
		}
		defer tap.Close()
		return unix.IoctlSetInt(int(tap.Fd()), unix.TUNSETPERSIST, 1)
	})
	if err != nil {
		return err
	}
	return inNetns(s.Netns(), s.Tap(), furnish(s))
}

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
	if f.Slot != nil {
		if err := f.Slot(slot); err != nil {
			return fmt.Errorf("make %s: %w", f.Name, err)
		}
	}
	id := "drill" + strings.ToLower(rand.Text()[:8])
	vmm, end, err := f.stand(slot, dir, id)
	if err != nil {
		return fmt.Errorf("make %s: %w", f.Name, err)
	}
	defer end()
	made, patient := time.Now(), *w
	patient.Patience += foreignBoot
	b := &Box{World: &patient, Sandbox: sandbox.Sandbox{ID: id}}
	if f.Harm != nil {
		if err := patient.until(ctx, func() (bool, error) { s, err := b.seen(ctx); return s != nil && len(s.Device.Holders) > 0, err }); err != nil {
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
	if err := network.EnableDNAT(s); err != nil {
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

// stand starts the stand-in inside the slot's namespace, and waits until it can be
// asked.
func (f Fault) stand(slot network.Slot, dir, id string) (vmm *os.Process, end func(), err error) {
	does, err := json.Marshal(f.Foreign)
	if err != nil {
		return nil, nil, err
	}
	cmd := exec.CommandContext(context.Background(), filepath.Join(dir, standInName), "--api-sock", apiSocket(dir, id))
	cmd.Env = append(os.Environ(), standInEnv+"="+string(does))
	if f.User != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: f.User, Gid: f.User}}
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
	if err := netns.Do(slot.Netns(), cmd.Start); err != nil {
		return nil, nil, err
	}
	end = func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		end()
		return nil, nil, fmt.Errorf("the stand-in ended: %w: %s%s", err, line, strings.TrimSpace(says.String()))
	}
	return cmd.Process, end, nil
}
