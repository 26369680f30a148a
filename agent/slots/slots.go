// Package slots holds all that the agent knows of the taps of a host: where each
// tap is, which sandbox is bound to it, and which process is the VMM of that
// sandbox. Facts come in by verbs (TakeLink, TakeHolders, TakeExit, ...), work lists
// and immutable views go out. Nothing here asks the kernel, so nobody waits long for
// the lock.
//
// The state of a tap is split by lifetime: the place (the tap and what leads to it),
// the stay of one sandbox at that place, and one VMM process. Each is replaced whole
// when it ends.
package slots

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"tapwatch/agent/path"
	"tapwatch/internal/netns"
)

// Key names a place. Ifindex is 0 where a launcher expects a tap that is not there.
type Key struct {
	netns.Device
	// Claim is the pid of a VMM that wants a tap which another VMM holds; 0: the
	// place is the tap's own.
	Claim int
}

// Work is what a place may need to be done for it, by a worker of the agent.
type Work int

// The kinds of work.
const (
	Judge   Work = iota // Cases has places whose facts have changed
	Hold                // who holds these taps is to be read
	Inspect             // these are to be looked at closely
	Listen              // who listens is to be read
	API                 // a VMM is to be asked by its API
	Hook                // Orders has hooks to be put on or taken off
)

// Config is what Slots needs of its surroundings. None of the functions may wait.
type Config struct {
	Self netns.Cookie // the agent's own namespace
	Port uint16       // where the daemon in every guest listens
	// Publish gets every event, in order.
	Publish func(path.Event)
	// Boot gets the boot of a sandbox each time that more of it is known.
	Boot func(sandboxID string, b *path.Boot)
	// Ask asks for work.
	Ask func(Work, ...Key)
	// Ignored says whether nothing is to be heard of a tap: of the namespace, the name
	// and the holder, empty where nobody holds it.
	Ignored func(netns, device, holder string) bool
	// Silenced returns the silence of a sandbox; nil: none holds.
	Silenced func(netns, id, name string, now time.Time) *path.Silence
	// Grace is how long the counters of a tap are exported after it has gone; 0 or
	// less: not at all.
	Grace time.Duration
	// NoHooks leaves the taps as they are: for one look.
	NoHooks bool
	// SomeHolders says that a reading of holders does not see all processes of the host:
	// where it lists no holder of a tap, it is unknown who holds that tap.
	SomeHolders bool
}

// Slots is the state of all taps. Its methods may be called from any goroutine.
type Slots struct {
	cfg   Config
	began time.Time

	mu     sync.Mutex
	spaces map[netns.Cookie]*space
	taps   map[netns.Device]*place // those that are there
	order  []*place                // by name; nil after a place came, went or was renamed
	host   hostVeths
	proxy  path.Listener
	stays  uint64 // serial number of the last stay

	// Of thousands of places few need attention, so each pass goes over one of these.
	bound    map[*place]struct{} // those with a sandbox
	due      map[*place]struct{} // whose facts have changed since they were judged
	unheard  map[*place]struct{} // whose relay is not known to listen, or has a full queue
	restless map[*place]struct{} // that time alone may change
	troubled map[*place]struct{} // with a finding, a boot, or a request that waits
	waiting  map[*place]struct{} // where a request waits for its answer, as the tap shows
	asking   map[*place]struct{} // the same, as sockets show
	boots    map[*place]struct{} // whose boot is not settled
	leaving  map[*place]struct{} // whose VMM has gone
	paused   map[*place]struct{} // whose VM is
	down     map[*place]struct{} // whose tap is administratively down
	unlinked map[*space]struct{} // whose links are still to be read
	claiming map[*space]struct{} // with processes that say they are VMMs
	byVMM    map[int]map[*place]struct{}
	taken    map[*place]struct{}   // whose tap somebody holds
	holds    map[Process]bool      // every process that holds a tap; nil: not read yet
	dead     map[Process]time.Time // VMMs that have ended, since when
	ids      map[string]Process    // the VMMs of foreign sandboxes, by id

	looseByName map[string][]*place // see looseTaps; nil after a tap without a sandbox changed

	waiters    []*place // idle slots that a stray VMM may have been meant for
	orders     []Order
	bootPhases map[path.Phase]*Times
	gone       []*gone // by when their grace ends
	readySince time.Time
	pruned     bool

	happened Happened

	bindings atomic.Uint64
}

// New makes an empty state.
func New(cfg Config) *Slots {
	return &Slots{
		cfg: cfg, began: time.Now(),
		spaces: map[netns.Cookie]*space{}, taps: map[netns.Device]*place{}, host: newHostVeths(),
		bound: map[*place]struct{}{}, due: map[*place]struct{}{}, unheard: map[*place]struct{}{}, restless: map[*place]struct{}{}, troubled: map[*place]struct{}{},
		waiting: map[*place]struct{}{}, asking: map[*place]struct{}{}, boots: map[*place]struct{}{}, leaving: map[*place]struct{}{}, paused: map[*place]struct{}{},
		claiming: map[*space]struct{}{}, unlinked: map[*space]struct{}{}, down: map[*place]struct{}{}, byVMM: map[int]map[*place]struct{}{}, taken: map[*place]struct{}{}, ids: map[string]Process{}, dead: map[Process]time.Time{}, bootPhases: map[path.Phase]*Times{}, happened: newHappened(),
	}
}

// Bindings counts the changes of which sandbox is at which tap. Who goes over all
// sandboxes for that alone need not while the number stands.
func (s *Slots) Bindings() uint64 { return s.bindings.Load() }

// find returns a place by its key; nil: it is not there any more.
func (s *Slots) find(k Key) *place {
	sp := s.spaces[k.Netns]
	if sp == nil {
		return nil
	}
	if k.Claim == 0 && k.Ifindex != 0 {
		return s.taps[k.Device]
	}
	if k.Claim == 0 {
		return sp.absent
	}
	for p := range sp.places {
		if p.key == k {
			return p
		}
	}
	return nil
}

const (
	// turn is how long places are worked on before others get the lock: a carrier
	// that goes waits no longer.
	turn = 500 * time.Microsecond
	// few is how many places are worked on between two looks at the clock.
	few = 8
)

// each runs fn under the lock for those places that are still there when their turn
// comes, and lets others have the lock in between.
func (s *Slots) each(all []*place, fn func(*place)) {
	for len(all) > 0 {
		s.mu.Lock()
		for began := time.Now(); len(all) > 0 && time.Since(began) < turn; {
			for n := 0; n < few && len(all) > 0; n++ {
				if p := all[0]; p.space != nil {
					fn(p)
				}
				all = all[1:]
			}
		}
		s.mu.Unlock()
		runtime.Gosched() // whoever waits comes next
	}
}
