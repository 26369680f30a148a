// Package ktime reads the kernel's clocks and turns their times into times of the
// calendar.
package ktime

import (
	"math"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Moment is a time of CLOCK_MONOTONIC in nanoseconds, as bpf_ktime_get_ns gives
// it. Zero is never.
type Moment uint64

// Now is the present Moment.
func Now() Moment { return Moment(read(unix.CLOCK_MONOTONIC)) }

// Time turns a Moment into a time of the calendar, by the difference that the two
// clocks have now. It is the zero time for never.
func (m Moment) Time() time.Time {
	if m == 0 {
		return time.Time{}
	}
	return time.Now().Add(-time.Duration(Now() - m))
}

// Zero is the time of the calendar at which CLOCK_MONOTONIC was 0, in nanoseconds
// since 1970. Two readings differ by what the quickest of some took, and by what the
// calendar's clock was set since: whoever loses the processor between two clocks is
// milliseconds off.
func Zero() (zero int64) {
	return zeroOf(read)
}

// readings is how many Zero takes the quickest of.
const readings = 5

func zeroOf(read func(clock int32) int64) (zero int64) {
	quickest := int64(math.MaxInt64)
	for range readings {
		before := read(unix.CLOCK_MONOTONIC)
		calendar := read(unix.CLOCK_REALTIME)
		if took := read(unix.CLOCK_MONOTONIC) - before; took < quickest {
			quickest, zero = took, calendar-before-took/2
		}
	}
	return zero
}

// Boot is when the kernel started, by CLOCK_BOOTTIME, which counts on while the
// machine sleeps. It is read once: what NTP corrects later is below the 10 ms to
// which the kernel tells when a process started. /proc/stat has it to a second only.
func Boot() time.Time { return boot() }

var boot = sync.OnceValue(func() time.Time {
	return time.Now().Add(-time.Duration(read(unix.CLOCK_BOOTTIME))).UTC()
})

// read reads a clock that always exists, so that it cannot fail.
func read(clock int32) int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(clock, &ts)
	return ts.Nano()
}
