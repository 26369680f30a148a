package proxy

import (
	"fmt"
	"time"

	"tapwatch/internal/sandbox/stream"
)

// Limits of what clients and sandboxes may take. The zero value is right.
type Limits struct {
	// MaxRequests bounds the requests and other connections to one sandbox that are
	// open at once, so that a flood of one takes no descriptors and memory of the
	// others; 0 means DefaultMaxRequests.
	MaxRequests int
	// MaxConnections bounds the connections to one sandbox, those between two requests
	// among them, and ConnectRate the new ones a second once so many have come in a
	// moment; 0 means no bound.
	MaxConnections int
	ConnectRate    float64
	// MaxOpen bounds the clients' connections in all: others wait; 0 means as many as
	// there are files for.
	MaxOpen int
	// MaxHeader bounds the head of a request or of an answer, in bytes; 0 means
	// DefaultMaxHeader, which is the most.
	MaxHeader     int
	HeaderTimeout time.Duration // for the head of a request; 0 means 10 s
	IdleTimeout   time.Duration // of a client's connection between requests; 0 means 10 min
	DialTimeout   time.Duration // for a sandbox to take a connection, as a paused one does not; 0 means 5 s
	// FirstByteTimeout bounds a sandbox that took the request and is silent; 0
	// means 10 min. It does not bound a stream that has begun.
	FirstByteTimeout time.Duration
	// UserTimeout is how long data may go without an answer from the other kernel;
	// 0 means 2 min.
	UserTimeout time.Duration
}

// What a zero Limits means.
const (
	DefaultMaxRequests      = 4096
	DefaultMaxHeader        = stream.MaxHead
	DefaultHeaderTimeout    = 10 * time.Second
	DefaultIdleTimeout      = 10 * time.Minute
	DefaultDialTimeout      = 5 * time.Second
	DefaultFirstByteTimeout = 10 * time.Minute
	DefaultUserTimeout      = 2 * time.Minute
)

func (l *Limits) validate() error {
	for _, v := range []struct {
		name   string
		v      *time.Duration
		ifZero time.Duration
	}{
		{"header timeout", &l.HeaderTimeout, DefaultHeaderTimeout},
		{"idle timeout", &l.IdleTimeout, DefaultIdleTimeout},
		{"dial timeout", &l.DialTimeout, DefaultDialTimeout},
		{"first byte timeout", &l.FirstByteTimeout, DefaultFirstByteTimeout},
		{"user timeout", &l.UserTimeout, DefaultUserTimeout},
	} {
		if *v.v == 0 {
			*v.v = v.ifZero
		}
		if *v.v < 0 {
			return fmt.Errorf("proxy: %s %v: must be above 0", v.name, *v.v)
		}
	}
	if l.MaxRequests == 0 {
		l.MaxRequests = DefaultMaxRequests
	}
	if l.MaxHeader == 0 {
		l.MaxHeader = DefaultMaxHeader
	}
	if l.MaxRequests < 0 {
		return fmt.Errorf("proxy: at most %d requests a sandbox: must be above 0", l.MaxRequests)
	}
	if l.MaxHeader < MinHeader || l.MaxHeader > DefaultMaxHeader {
		return fmt.Errorf("proxy: at most %d bytes a head: must be %d to %d", l.MaxHeader, MinHeader, DefaultMaxHeader)
	}
	return nil
}

// connections says what bounds those to one sandbox.
func (l *Limits) connections() string {
	if l.ConnectRate == 0 {
		return fmt.Sprintf("at most %d may be open", l.MaxConnections)
	}
	return fmt.Sprintf("at most %d may be open, and %.0f more begin in a second", l.MaxConnections, l.ConnectRate)
}

// MinHeader is the least that MaxHeader may be.
const MinHeader = 1 << 10
