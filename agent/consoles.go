package agent

import (
	"context"
	"os"
	"time"

	"github.com/fsnotify/fsnotify"

	"tapwatch/agent/slots"
)

// consoles has a guest's console read as it is written to: a panic stands there
// long before anything else of it can be seen. A guest writes what it likes, so
// reading takes no more than a fortieth of the time.
type consoles struct {
	fs     *fsnotify.Watcher
	asked  *asker
	of     map[string]slots.Key  // by file; of the goroutine alone, like what follows
	sought map[string]chan error // files that are being looked for
}

const (
	consolesShare = 39
	consolesRest  = time.Second
	// consolesEvery is how often new sandboxes' consoles are looked for: until then
	// the sandbox boots, and is looked at every second.
	consolesEvery = time.Second
)

func newConsoles() (*consoles, error) {
	fs, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	return &consoles{fs: fs, asked: newAsker(2*noticeDelay, consolesShare, consolesRest), of: map[string]slots.Key{}, sought: map[string]chan error{}}, nil
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
	tick := newTicks(consolesEvery)
	defer tick.Stop()
	for followed := uint64(0); ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			tick.again()
			if now := i.slots.Bindings(); now != followed && c.follow(i) {
				followed = now
			}
		case e := <-c.fs.Events:
			if k, ok := c.of[e.Name]; ok {
				c.asked.ask(k)
			}
		case err := <-c.fs.Errors: // an overflow: who wrote meanwhile is not known
			i.log.Debug("consoles are read in turn", "err", err)
		}
	}
}

func (c *consoles) close() error {
	if c == nil {
		return nil
	}
	return c.fs.Close()
}

// follow watches the consoles of the sandboxes that there are, and reports whether it
// does so of all. A file that goes is watched no more.
func (c *consoles) follow(i *inspector) (all bool) {
	now := map[string]slots.Key{}
	for _, t := range i.slots.Bound(nil) {
		if t.Console != "" {
			now[t.Console] = t.Key
		}
	}
	for file := range c.of {
		if _, ok := now[file]; !ok {
			_ = c.fs.Remove(file) // it has gone by itself, as a rule
			delete(c.of, file)
		}
	}
	for file := range c.sought {
		if _, ok := now[file]; !ok {
			delete(c.sought, file)
		}
	}
	all = true
	for file, k := range now {
		if _, ok := c.of[file]; !ok {
			if !c.reaches(file) {
				all = false
				continue
			}
			if err := c.fs.Add(file); err != nil {
				i.log.Debug("a console is read in turn only", "file", file, "err", err)
				all = false // it may not be there yet
				continue
			}
			c.asked.ask(k)
		}
		c.of[file] = k
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
