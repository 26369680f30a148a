package agent

import (
	"context"
	"os"
	"runtime/debug"
	"time"

	"tapwatch/agent/diagnose"
	"tapwatch/agent/slots"
	"tapwatch/internal/netns"
)

// What is read from the kernel now and then, because nothing reports it, and what
// only time shows.

const (
	// holdersEvery is how often holders are read while a sandbox has no carrier: that
	// a VMM elsewhere took another tap is not reported.
	holdersEvery = 5
	// listenersEvery is how often listeners are read while all is well, for their
	// queues, and where the kernel does not report who begins or ceases to listen.
	listenersEvery = 5
	// listenersShare bounds what that takes: with thousands of sockets they are read
	// more seldom, in half a thousandth of the time, but once in listenersRarest.
	listenersShare  = 2000
	listenersRarest = 30 * time.Second
	// unhookedEvery is how often taps without hooks get them, where something stood in
	// the way.
	unhookedEvery = 10
	// quickEvery is the time between two looks for requests that have now waited too
	// long, while any waits.
	quickEvery = 100 * time.Millisecond
	// quickMost bounds the taps of one quick look: the others' turn comes within a
	// second, as everything's does.
	quickMost = 64
	// clocks is how far the clock of the hooks and that of the checks may disagree.
	clocks = 2 * time.Millisecond
	// pruneAfter is how long all must have been known before what is counted for other
	// devices is taken for that of devices which went while no agent ran.
	pruneAfter = 30 * time.Second
	// manyTaps is from how many taps on memory is collected when it has grown by
	// manyGCPercent and not by as much again: what is kept of so many hardly changes, so
	// that little is collected, and seldom.
	manyTaps      = 4_000
	manyGCPercent = 40
)

// observe reads every so often, and runs the checks again where time may tell.
func (a *Agent) observe(ctx context.Context) {
	tick, quick := newTicks(a.cfg.Every), time.NewTicker(quickEvery)
	defer tick.Stop()
	defer quick.Stop()
	last := time.Now()
	for n := 0; ; n++ {
		for waiting := true; waiting; {
			select {
			case <-ctx.Done():
				return
			case <-quick.C:
				last = a.lookAtWaiting(last)
			case keys := <-a.refused:
				a.readNow(keys)
			case <-tick.C:
				tick.again()
				waiting = false
			}
		}
		a.counters.read()
		if a.slots.AnyWaits() {
			quick.Reset(quickEvery)
		} else {
			quick.Stop()
			last = time.Now()
		}
		a.every(n)
	}
}

// every is what is done every second, for the nth time.
func (a *Agent) every(n int) {
	a.lookForHidden(n)
	for _, t := range a.slots.Troubled() {
		a.vmms.look(t)
	}
	a.slots.Tick(n, time.Now())
	a.prune()
	if n%unhookedEvery == 0 {
		a.slots.Unhooked()
		a.vmms.forget()
	}
	if !a.slots.Listened(a.notifications.listens != nil) || n%listenersEvery == 0 && a.listeners.rested() {
		a.listeners.wake.ask()
	}
	if n%holdersEvery == 0 {
		if down := a.slots.Down(); len(down) > 0 {
			a.holding.ask(down...)
		}
		if odd := a.slots.Suspicious(); len(odd) > 0 {
			a.discover.Rescan()
			a.holding.ask(odd...)
		}
	}
}

// lookAtWaiting has those judged where a request has just waited as long as one may:
// time alone proves that.
func (a *Agent) lookAtWaiting(last time.Time) time.Time {
	now := time.Now()
	patience := diagnose.Patience + clocks
	taps := a.slots.Waited(last.Add(-patience), now.Add(-patience))
	taps = taps[:min(quickMost, len(taps))]
	a.counters.readSome(taps)
	a.slots.Rejudge(taps...)
	return now
}

// readNow reads the counters of some taps at once.
func (a *Agent) readNow(keys []slots.Key) {
	var taps []netns.Device
	for _, k := range keys[:min(quickMost, len(keys))] {
		taps = append(taps, k.Device)
	}
	a.counters.readSome(taps)
}

// prune forgets, once, what an agent before this one counted for devices that have
// gone.
func (a *Agent) prune() {
	keep, due := a.slots.Prunable(time.Now(), a.Ready() == nil, pruneAfter)
	if !due {
		return
	}
	if _, err := a.probe.Prune(func(d netns.Device) bool { return keep[d] }); err != nil {
		a.cfg.Log.Warn("prune counters", "err", err)
	}
	if len(keep) >= manyTaps && os.Getenv("GOGC") == "" {
		debug.SetGCPercent(manyGCPercent)
	}
	debug.FreeOSMemory() // what the start needed is given back
}
