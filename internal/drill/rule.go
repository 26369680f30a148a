package drill

import (
	"sync"
	"time"

	"tapwatch/agent/path"
)

// The rule of every drill, whatever is expected: while the sandbox's clients get
// nothing no path is ok, and while they are answered none is broken.

// ruleLeast is how many requests say how clients fare.
const ruleLeast = 3

// clients is what became of the requests of a sandbox's own clients in the drill.
type clients struct {
	mu    sync.Mutex
	ended []request
}

type request struct {
	began, ended time.Time
	answered     bool
}

// keep is how long a request is remembered.
const keep = time.Minute

func (c *clients) note(r request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.ended) > 0 && r.ended.Sub(c.ended[0].ended) > keep {
		c.ended = c.ended[1:]
	}
	c.ended = append(c.ended, r)
}

// fare counts the requests that began after a time, and those of them that were answered.
func (c *clients) fare(since time.Time) (asked, answered int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.ended {
		if r.began.After(since) {
			asked++
			if r.answered {
				answered++
			}
		}
	}
	return asked, answered
}

// breach says how a verdict goes against what clients got since then; empty: it does not.
func (c *clients) breach(d path.Diagnosis, since time.Time) string {
	switch asked, answered := c.fare(since); {
	case asked < ruleLeast:
		return ""
	case answered == 0 && d.State == path.OK:
		return "no request is answered, and the path is ok"
	case answered == asked && d.State == path.Broken:
		return "all requests are answered, and the path is broken"
	}
	return ""
}
