package agent

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"sync"
	"time"

	"tapwatch/agent/inspect"
	"tapwatch/agent/path"
	"tapwatch/agent/slots"
)

// inspector looks closely at sandboxes: at those in trouble and at once at those that
// the kernel reported something of, at the others in turn, so that a rule that nobody
// reported is found at last.
type inspector struct {
	slots    *slots.Slots
	port     uint16 // of envd
	log      *slog.Logger
	turn     []slots.Target // those that are still to be looked at in this round
	asked    *asker         // what the kernel reported
	consoles *consoles      // nil: they are read in turn only
	host     *hostRules
	vmms     inspect.VMMs
	freezers *freezers // nil: they are read in turn only
	replies  replies

	mu   sync.Mutex
	done *collections
	busy map[lookAt]bool         // looks that have not come back
	said map[string]inspect.Said // how far each console has been read, by file
}

// lookAt is one look: no other of its kind is begun at that sandbox before it comes
// back.
type lookAt struct {
	stay    uint64
	console bool
}

func newInspector(s *slots.Slots, port uint16, log *slog.Logger) *inspector {
	return &inspector{slots: s, port: port, log: log.With("part", "inspector"), asked: newAsker(noticeDelay, 9, noticeRest),
		host: newHostRules(), busy: map[lookAt]bool{}, said: map[string]inspect.Said{}}
}

const (
	// inspectEvery is the time between two looks at a sandbox in trouble.
	inspectEvery = time.Second
	// turnEvery is how many times lie between two looks at a sandbox without trouble:
	// what the kernel reports needs no turn, and a look takes some milliseconds.
	turnEvery = 4
	// pausedMost bounds the looks of one time at sandboxes that are paused: not every
	// freezer reports that they go on.
	pausedMost = 2
	// inspectMost bounds the looks of one time.
	inspectMost = 32
	// inspectPatience is how long a look may take: a console may lie on a disk that
	// hangs. What was looked for is then unknown.
	inspectPatience = 3 * time.Second
)

func (i *inspector) run(ctx context.Context) {
	var parts sync.WaitGroup
	defer parts.Wait()
	parts.Go(func() {
		i.asked.run(ctx, func(keys []slots.Key) { i.lookAtAll(ctx, i.slots.Targets(keys...)) })
	})
	parts.Go(func() {
		i.host.changed.run(ctx, func([]slots.Key) { i.hostChanged() })
	})
	if i.consoles != nil {
		parts.Go(func() { i.consoles.run(ctx, i) })
	}
	if i.freezers != nil {
		parts.Go(func() { i.freezers.run(ctx, i) })
	}
	tick := newTicks(inspectEvery)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			tick.again()
		}
		i.lookAtAll(ctx, i.choose(n, time.Now()))
	}
}

// close ends what the kernel reports to it.
func (i *inspector) close() error {
	var errs []error
	if i.consoles != nil {
		errs = append(errs, i.consoles.watch.close())
	}
	if i.freezers != nil {
		errs = append(errs, i.freezers.watch.close())
	}
	return errors.Join(errs...)
}

func (i *inspector) lookAtAll(ctx context.Context, targets []slots.Target) {
	if len(targets) == 0 {
		return
	}
	began := time.Now()
	defer func() { i.done.did("inspections", began, ctx.Err()) }()
	i.readConsoles(targets)
	for _, t := range targets {
		if ctx.Err() != nil {
			return
		}
		i.look(t)
	}
}

// forget forgets the consoles that no sandbox has any more.
func (i *inspector) forget(bound []slots.Target) {
	are := make(map[string]bool, len(bound))
	for _, t := range bound {
		are[t.Console] = true
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.vmms.Forget(i.slots.VMMs())
	i.replies.forget()
	maps.DeleteFunc(i.said, func(file string, _ inspect.Said) bool { return !are[file] })
}

// consolesWait is how long consoles are waited for that are read together. One on a
// disk that hangs is left to itself.
const consolesWait = 100 * time.Millisecond

// readConsoles reads the consoles of some sandboxes beside each other.
func (i *inspector) readConsoles(targets []slots.Target) {
	var reads sync.WaitGroup
	for _, t := range targets {
		if t.Console != "" {
			reads.Go(func() { i.readConsole(t) })
		}
	}
	done := make(chan struct{})
	go func() { reads.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(consolesWait):
	}
}

// choose returns the sandboxes in trouble that are to be looked at the nth time, and
// sometimes the next other one in turn.
func (i *inspector) choose(n int, now time.Time) []slots.Target {
	due := i.slots.DueInspections(n, now, inspectMost)
	if len(i.turn) == 0 && n%turnEvery == 0 {
		i.turn = i.slots.Bound(nil)
		i.forget(i.turn)
	}
	if n%turnEvery == 0 {
		due = append(due, i.slots.PausedSome(pausedMost)...)
	}
	if n%turnEvery == 0 && len(i.turn) > 0 {
		next := i.turn[0]
		i.turn = i.turn[1:]
		if t, ok := i.slots.Untroubled(next); ok {
			due = append(due, t)
		}
	}
	return due
}

// look looks at one sandbox, but not at its console.
func (i *inspector) look(t slots.Target) {
	if t = i.learnTopology(t); t.Stay == 0 {
		return // it went meanwhile
	}
	i.lookBy(t, i.inspect)
}

func (i *inspector) lookBy(t slots.Target, inspect func(slots.Target) *slots.Inspection) {
	found, late := patiently(i, lookAt{t.Stay, false}, func() *slots.Inspection { return inspect(t) })
	switch {
	case late:
		i.log.Warn("a look takes too long: what it is for is unknown", "netns", t.Netns, "sandbox", t.Sandbox)
		i.slots.TakeInspection(t, &slots.Inspection{})
	case found != nil:
		i.slots.TakeInspection(t, found)
	}
}

// readConsole reads what a guest's console says since it was read last.
func (i *inspector) readConsole(t slots.Target) {
	faults, late := patiently(i, lookAt{t.Stay, true}, func() *[]path.ConsoleFault {
		i.mu.Lock()
		before := i.said[t.Console]
		i.mu.Unlock()
		said, err := inspect.Console(t.Console, before)
		if err != nil {
			i.log.Debug("read a console", "err", err)
		}
		i.mu.Lock()
		i.said[t.Console] = said
		i.mu.Unlock()
		return &said.Faults
	})
	switch {
	case late:
		i.log.Warn("a console takes too long to be read: what it says is unknown", "sandbox", t.Sandbox, "console", t.Console)
		i.slots.TakeConsole(t, nil)
	case faults != nil:
		i.slots.TakeConsole(t, *faults)
	}
}

// patiently waits for a look. Nil is what it returns of one that takes too long, and
// of one that an earlier look of its kind holds up, until that comes back.
func patiently[T any](i *inspector, what lookAt, look func() *T) (found *T, late bool) {
	i.mu.Lock()
	busy := i.busy[what]
	i.busy[what] = true
	i.mu.Unlock()
	if busy {
		return nil, false
	}
	got := make(chan *T, 1)
	go func() {
		found := look()
		i.mu.Lock()
		delete(i.busy, what)
		i.mu.Unlock()
		got <- found
	}()
	select {
	case found = <-got:
		return found, false
	case <-time.After(inspectPatience):
		return nil, true
	}
}
