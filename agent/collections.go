package agent

import (
	"maps"
	"sync"
	"time"

	"tapwatch/agent/metrics"
)

// collections is how the parts that ask the kernel fared: when each last had an answer,
// and how long that took.
type collections struct {
	mu sync.Mutex
	of map[string]metrics.Collected
}

// did notes that a part has asked. It is no error where nobody keeps count.
func (c *collections) did(part string, began time.Time, err error) {
	if c == nil {
		return
	}
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of == nil {
		c.of = map[string]metrics.Collected{}
	}
	was := c.of[part]
	if err != nil {
		was.Failures++
	} else {
		was.Success, was.Took = now, now.Sub(began)
	}
	c.of[part] = was
}

func (c *collections) all() map[string]metrics.Collected {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of == nil {
		return map[string]metrics.Collected{}
	}
	return maps.Clone(c.of)
}
