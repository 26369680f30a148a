// Package holders reads who keeps taps open, in all namespaces at one time.
package holders

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"tapwatch/bpf"
	"tapwatch/internal/netns"
	"tapwatch/internal/proc"
)

// Holder is one process that keeps a queue of a tap open. A VMM that is attached
// is one; so is anything else that has the tap.
type Holder struct {
	Tap          netns.Device
	TapName      string // the device's present name
	PID          int
	FD           int
	Command      string       // comm, at most 15 bytes
	ProcessNetns netns.Cookie // differs from Tap.Netns where the holder sits elsewhere
}

// Config says how holders are read.
type Config struct {
	// ByProc has holders read from /proc although the kernel may have an iterator over
	// files. Without an iterator they are read from /proc in any case.
	ByProc bool
	// PIDs says which pids /proc shows: holders are reported by them. It is required.
	PIDs proc.Numbers
}

// ErrPIDs says that a process which the kernel reports cannot be found in /proc.
var ErrPIDs = errors.New("holders are unknown: /proc shows the pids of another PID namespace")

// Reader reads holders. Its methods are safe for concurrent use.
type Reader struct {
	pids proc.Numbers
	mu   sync.Mutex
	iter *iterator // nil: /proc is read instead
	lack error
	late bool // the iterator has been loaded again, for a module that came late
}

// iterator is the program that goes through open files.
type iterator struct {
	prog   *ebpf.Program
	link   *link.Iter
	majors *ebpf.Variable
	knows  bool // struct tap_queue, and so what macvtap devices are held by
}

// Open loads the iterator over open files. Where the kernel has none, /proc is read
// instead, and Lacks says why.
func Open(cfg Config) *Reader {
	r := &Reader{pids: cfg.PIDs}
	if !cfg.ByProc {
		r.iter, r.lack = load(cfg.PIDs)
	}
	return r
}

func load(pids proc.Numbers) (*iterator, error) {
	spec, err := bpf.LoadHolders()
	if err != nil {
		return nil, fmt.Errorf("read holder iterator: %w", err)
	}
	if err := spec.Variables[bpf.HoldersVarPidNs].Set(pids.KernelInode()); err != nil {
		return nil, fmt.Errorf("configure holder iterator: %w", err)
	}
	types, giveBack := bpf.Types()
	defer giveBack()
	opts := ebpf.CollectionOptions{Cache: types}
	modules := bpf.Modules(types, "tun", "tap") // struct tun_file, struct tap_queue
	opts.Programs.ExtraRelocationTargets = modules
	it := &iterator{knows: slices.ContainsFunc(modules, knowsQueues)}
	if kernel, err := types.Kernel(); err == nil {
		it.knows = it.knows || knowsQueues(kernel)
	}
	var objs bpf.HoldersObjects
	if err := spec.LoadAndAssign(&objs, &opts); err != nil {
		return nil, fmt.Errorf("load holder iterator: %w", bpf.Explain(err))
	}
	it.prog, it.majors = objs.TapHolders, objs.TapMajors
	if it.link, err = link.AttachIter(link.IterOptions{Program: it.prog}); err != nil {
		return nil, errors.Join(fmt.Errorf("attach holder iterator: %w", bpf.Explain(err)), objs.Close())
	}
	return it, nil
}

func knowsQueues(types *btf.Spec) bool {
	var queue *btf.Struct
	return types.TypeByName("tap_queue", &queue) == nil
}

// SeesAll says whether Read lists the holders of the whole host. Else it lists those in
// the caller's PID namespace, and a tap that nobody is listed for may be held all the
// same.
func (r *Reader) SeesAll() bool { return r.pids.Host() }

// Lacks says why /proc is read; nil where the iterator is, or /proc was asked for.
func (r *Reader) Lacks() error { return r.lack }

// KnowsMacvtap says whether Read lists the holders of macvtap and ipvtap devices;
// where it does not, they are unknown.
func (r *Reader) KnowsMacvtap() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.iter != nil && r.iter.knows
}

// Close unloads the iterator.
func (r *Reader) Close() error {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.iter.close()
}

func (it *iterator) close() error {
	if it == nil {
		return nil
	}
	return errors.Join(it.link.Close(), it.prog.Close())
}

// Read lists the holders of all taps in all namespaces, at one time. It costs
// some milliseconds at a thousand processes, and ten times that where there is no
// iterator: call it on a change, not on a scrape. Holders of macvtap and ipvtap
// devices are listed by the iterator alone: a queue does not tell its namespace. The
// error is ErrPIDs where no pid of /proc can be told from others.
func (r *Reader) Read() ([]Holder, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pids.Inode == 0 || r.iter == nil && !r.pids.Own {
		return nil, ErrPIDs
	}
	if r.iter == nil {
		return byProc()
	}
	majors, err := tapMajors()
	if err != nil {
		return nil, err
	}
	if majors != [2]uint32{} && !r.iter.knows && !r.late {
		r.reload()
	}
	return r.iter.read(majors)
}

// reload loads the iterator again, once: macvtap has become known to the kernel
// since, and with it the types of its queues.
func (r *Reader) reload() {
	r.late = true
	it, err := load(r.pids)
	if err != nil {
		return // the old one still lists all other taps
	}
	_ = r.iter.close() // nothing depends on it any more
	r.iter = it
}

func (it *iterator) read(majors [2]uint32) ([]Holder, error) {
	if err := it.majors.Set(majors); err != nil {
		return nil, fmt.Errorf("configure holder iterator: %w", err)
	}
	f, err := it.link.Open()
	if err != nil {
		return nil, fmt.Errorf("open holder iterator: %w", err)
	}
	defer f.Close()
	return decode(f)
}

// decode reads what the iterator writes, one after the other.
func decode(r io.Reader) (holders []Holder, err error) {
	err = bpf.Records(r, func(h *bpf.HoldersHolder) {
		holders = append(holders, Holder{
			Tap:          netns.Device{Netns: netns.Cookie(h.TapNetns), Ifindex: netns.Ifindex(h.Ifindex)},
			TapName:      unix.ByteSliceToString(h.Device[:]),
			PID:          int(h.Pid),
			FD:           int(h.Fd),
			Command:      unix.ByteSliceToString(h.Comm[:]),
			ProcessNetns: netns.Cookie(h.ProcessNetns),
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read holder iterator: %w", err)
	}
	return holders, nil
}
