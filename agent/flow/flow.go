// Package flow measures where the time of requests goes: in the proxy, in the relay,
// on the way through the tap, or in the daemon. The programs of bpf/flow.c do so in
// the kernel, for any client and any proxy; this package tells them what the paths
// are, and reads what they have counted. docs/hops.md defines what is measured.
package flow

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"

	"tapwatch/bpf"
	"tapwatch/internal/e2b"
	"tapwatch/internal/ktime"
	"tapwatch/internal/netns"
)

// Config is what the programs need to know; the zero value works.
type Config struct {
	// ProxyPort is where the proxy listens; 0 means e2b.EnvdPort. Proxies on other ports are
	// found by what they connect to, a request later.
	ProxyPort uint16
	// ServicePort is where the relay and the daemon in the guest listen; 0 means the same.
	ServicePort uint16
	// PerSandbox is how many sandboxes get histograms of their own; 0 means none.
	PerSandbox int
}

// Flow is the loaded programs. Its methods are safe for concurrent use.
type Flow struct {
	cfg   Config
	objs  *ebpf.Collection
	links []link.Link
	known *link.Iter
	waits *link.Iter
	lacks []error
	cpus  int
	began time.Time

	mu         sync.Mutex
	clock      clock
	paths      map[netns.Cookie]Path
	own        map[netns.Cookie]time.Time // since when they have histograms of their own
	leftOut    uint64                     // sandboxes that have none, for want of places
	latest     map[uint64]mark            // of what traffic showed of a path, as it was told
	notes      uint64                     // how often anything was noted, at the last look
	skipped    int                        // looks since what was seen was read
	open       bool                       // something asked had not ended
	keys       []uint64                   // these two are eachSeen's, for the next time
	values     []bpf.FlowSeen
	dnat       int       // paths
	takesTaken link.Link // attached while there are paths
	takesDNAT  link.Link // attached while there are dnat paths
}

// always are the programs without which nothing can be measured.
var always = []string{bpf.FlowProgFlowState, bpf.FlowProgFlowArrive, bpf.FlowProgFlowRead, bpf.FlowProgFlowSend}

// Load puts the programs into the kernel and attaches them. They cost a few
// nanoseconds a packet of the host, and some hundred a request of a path.
func Load(cfg Config) (_ *Flow, err error) {
	if cfg.ProxyPort == 0 {
		cfg.ProxyPort = e2b.EnvdPort
	}
	if cfg.ServicePort == 0 {
		cfg.ServicePort = e2b.EnvdPort
	}
	if cfg.PerSandbox < 0 {
		return nil, errors.New("flow: the number of sandboxes with histograms of their own must not be negative")
	}
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, fmt.Errorf("raise memlock limit: %w", err)
	}
	f := &Flow{cfg: cfg, paths: map[netns.Cookie]Path{}, own: map[netns.Cookie]time.Time{}, latest: map[uint64]mark{}, began: time.Now()}
	if f.cpus, err = ebpf.PossibleCPU(); err != nil {
		return nil, fmt.Errorf("count CPUs: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	if err := f.load(); err != nil {
		return nil, err
	}
	for _, name := range always {
		l, err := f.attach(name)
		if err != nil {
			return nil, err
		}
		f.links = append(f.links, l)
	}
	f.known, err = link.AttachIter(link.IterOptions{Program: f.objs.Programs[bpf.FlowProgFlowKnown]})
	if err != nil {
		return nil, fmt.Errorf("attach socket iterator: %w", err)
	}
	f.waits, err = link.AttachIter(link.IterOptions{Program: f.objs.Programs[bpf.FlowProgFlowWaits], Map: f.objs.Maps[bpf.FlowMapEnds]})
	if err != nil {
		return nil, fmt.Errorf("attach iterator of what waits: %w", err)
	}
	return f, nil
}

func (f *Flow) load() error {
	spec, err := bpf.LoadFlow()
	if err != nil {
		return fmt.Errorf("read flow programs: %w", err)
	}
	perSandbox := uint8(0)
	if f.cfg.PerSandbox > 0 {
		perSandbox = 1
	}
	for name, value := range map[string]any{
		bpf.FlowVarProxyPort: f.cfg.ProxyPort, bpf.FlowVarServicePort: f.cfg.ServicePort, bpf.FlowVarPerSandbox: perSandbox, bpf.FlowVarBounds: boundsNS(),
	} {
		if err := spec.Variables[name].Set(value); err != nil {
			return fmt.Errorf("configure flow programs: %w", err)
		}
	}
	types, giveBack := bpf.Types()
	defer giveBack()
	if err := f.leaveOut(spec, types); err != nil {
		return err
	}
	if f.objs, err = ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{Cache: types}); err != nil {
		return fmt.Errorf("load flow programs: %w", err)
	}
	return nil
}

// leaveOut takes out the programs whose tracepoints this kernel lacks.
func (f *Flow) leaveOut(spec *ebpf.CollectionSpec, types *btf.Cache) error {
	kernel, err := types.Kernel()
	if err != nil {
		return fmt.Errorf("read kernel types: %w", err)
	}
	for name, prog := range spec.Programs {
		if prog.AttachType != ebpf.AttachTraceRawTp {
			continue
		}
		var def *btf.Typedef
		if err := kernel.TypeByName("btf_trace_"+prog.AttachTo, &def); err != nil {
			f.lacks = append(f.lacks, fmt.Errorf("%s: tracepoint %s: %w", name, prog.AttachTo, ebpf.ErrNotSupported))
			delete(spec.Programs, name)
		}
	}
	if runtime.GOARCH != "amd64" {
		f.lacks = append(f.lacks, fmt.Errorf("joins of proxies that do not tell: %w on %s", ebpf.ErrNotSupported, runtime.GOARCH))
	}
	return nil
}

func (f *Flow) attach(name string) (link.Link, error) {
	prog := f.objs.Programs[name]
	if prog == nil {
		return nil, fmt.Errorf("attach %s: %w: needs a tracepoint that this kernel has not", name, ebpf.ErrNotSupported)
	}
	l, err := link.AttachTracing(link.TracingOptions{Program: prog})
	if err != nil {
		return nil, fmt.Errorf("attach %s: %w", name, err)
	}
	return l, nil
}

// Lacks says what this kernel cannot do; empty where it can do all.
func (f *Flow) Lacks() []error { return f.lacks }

// Told is the map in which a proxy writes which of its sockets belong together:
// see internal/pairing. Its descriptor may be given to other processes.
func (f *Flow) Told() *ebpf.Map { return f.objs.Maps[bpf.FlowMapTold] }

// Close ends the measuring.
func (f *Flow) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var errs []error
	for _, l := range append(f.links, f.takesTaken, f.takesDNAT) {
		if l != nil {
			errs = append(errs, l.Close())
		}
	}
	for _, it := range []*link.Iter{f.known, f.waits} {
		if it != nil {
			errs = append(errs, it.Close())
		}
	}
	if f.objs != nil {
		f.objs.Close()
	}
	f.links, f.takesTaken, f.takesDNAT, f.known, f.waits = nil, nil, nil, nil, nil
	return errors.Join(errs...)
}

// clock ties the kernel's times to the calendar.
type clock struct{ zero int64 } // ktime.Zero

// steps is the least difference that is a step of the calendar's clock, not the time
// that reading took.
const steps = 10 * time.Millisecond

// now keeps the clock until the calendar's is set, so that a time that was read
// twice is the same.
func (f *Flow) now() clock {
	zero := ktime.Zero()
	if d := time.Duration(zero - f.clock.zero); d.Abs() > steps {
		f.clock.zero = zero
	}
	return f.clock
}
