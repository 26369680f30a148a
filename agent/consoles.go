package agent

import (
	"context"
	"os"
	"time"

	"tapwatch/agent/slots"
)

// consoles has a guest's console read as it is written to: a panic stands there
// long before anything else of it can be seen. A guest writes what it likes, so
// reading takes no more than a fortieth of the time.
type consoles struct {
	watch  *fileWatch
	asked  *asker
	sought map[string]chan error // files that are being looked for; of the watch's goroutine
}

const (
	consolesShare = 39
	consolesRest  = time.Second
)

func newConsoles(watch *fileWatch) *consoles {
	return &consoles{watch: watch, asked: newAsker(2*noticeDelay, consolesShare, consolesRest), sought: map[string]chan error{}}
}

// run watches until the context ends.
func (c *consoles) run(ctx context.Context, i *inspector) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.asked.run(ctx, func(keys []slots.Key) {
			i.readConsoles(i.slots.Targets(keys...))
		})
	}()
	defer func() { <-done }()
	c.watch.run(ctx, i.slots.Bindings, func() bool { return c.follow(i) }, c.asked.ask)
}

// follow watches the consoles of the sandboxes that there are, and reports whether it
// does so of all. Until a new one is watched its sandbox boots, and is looked at every
// second. A file that goes is watched no more.
func (c *consoles) follow(i *inspector) (all bool) {
	now := map[string][]slots.Key{}
	for _, t := range i.slots.Bound(nil) {
		if t.Console != "" {
			now[t.Console] = append(now[t.Console], t.Key)
		}
	}
	for file := range c.sought {
		if now[file] == nil {
			delete(c.sought, file)
		}
	}
	added, all := c.watch.keep(now, c.reaches)
	if len(added) > 0 {
		c.asked.ask(added...)
	}
	return all
}

// reachesWait is how long a file is waited for that is looked for the first time.
const reachesWait = 20 * time.Millisecond

// reaches says whether a file can be had without waiting. One on a disk that hangs would
// hold up the watch of all.
func (c *consoles) reaches(file string) bool {
	got, wait := c.sought[file], time.Duration(0)
	if got == nil {
		got, wait = make(chan error, 1), reachesWait
		c.sought[file] = got
		go func() { _, err := os.Stat(file); got <- err }()
	}
	select {
	case err := <-got:
		delete(c.sought, file)
		return err == nil
	case <-time.After(wait):
		return false
	}
}
