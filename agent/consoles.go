package agent

import (
	"context"
	"time"

	"github.com/fsnotify/fsnotify"

	"tapwatch/agent/inspect"
)

// consoles has a guest's console read as it is written to: a panic stands there
// long before anything else of it can be seen. A guest writes what it likes, so
// reading takes no more than a fortieth of the time.
type consoles struct {
	fs    *fsnotify.Watcher
	asked *asker
	of    map[string]*slot // by file; of the goroutine alone
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
	return &consoles{fs: fs, asked: newAsker(2*toldDelay, consolesShare, consolesRest), of: map[string]*slot{}}, nil
}

// run watches until the context ends.
func (c *consoles) run(ctx context.Context, i *inspector) {
	defer c.fs.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.asked.run(ctx, func(slots []*slot) {
			for _, t := range i.targets(slots) {
				i.lookInTime(t, i.lookAtConsole)
			}
		})
	}()
	defer func() { <-done }()
	tick := time.NewTicker(consolesEvery)
	defer tick.Stop()
	for followed := uint64(0); ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if now := i.model.bindings.Load(); now != followed && c.follow(i) {
				followed = now
			}
		case e := <-c.fs.Events:
			if s := c.of[e.Name]; s != nil {
				c.asked.ask(s)
			}
		case err := <-c.fs.Errors: // an overflow: who wrote meanwhile is not known
			i.log.Debug("consoles are read in turn", "err", err)
		}
	}
}

// follow watches the consoles of the sandboxes that there are, and reports whether it
// does so of all. A file that goes is watched no more.
func (c *consoles) follow(i *inspector) (all bool) {
	now := map[string]*slot{}
	i.model.mu.Lock()
	for s := range i.model.bound {
		if file := s.entry.Binding.Console; file != "" {
			now[file] = s
		}
	}
	i.model.mu.Unlock()
	for file := range c.of {
		if now[file] == nil {
			_ = c.fs.Remove(file) // it has gone by itself, as a rule
			delete(c.of, file)
		}
	}
	all = true
	for file, s := range now {
		if c.of[file] == nil {
			if err := c.fs.Add(file); err != nil {
				i.log.Debug("a console is read in turn only", "file", file, "err", err)
				all = false // it may not be there yet
				continue
			}
			c.asked.ask(s)
		}
		c.of[file] = s
	}
	return all
}

// lookAtConsole is a look at nothing else: the rest is as it was found.
func (i *inspector) lookAtConsole(t target) closer {
	c := t.before
	said, err := inspect.Console(t.console, t.before.console)
	if err != nil {
		i.log.Debug("read a console", "err", err)
	}
	c.console = said
	return c
}
