package qemu

import (
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// hostTSC is the counter's rate in kHz. A guest under TCG reads the host's counter,
// and cannot find its rate against timers that are emulated: told wrongly, its
// clock runs fast or slow by as much.
var hostTSC = sync.OnceValue(func() int64 {
	return measureTSC(20 * time.Millisecond)
})

func measureTSC(d time.Duration) int64 {
	t0, c0 := monotonicRaw(), rdtsc()
	time.Sleep(d)
	t1, c1 := monotonicRaw(), rdtsc()
	return int64(float64(c1-c0) / float64(t1-t0) * 1e6)
}

// monotonicRaw is in ns, and not slewed by time synchronisation.
func monotonicRaw() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC_RAW, &ts) // a valid clock and pointer: cannot fail
	return ts.Nano()
}

// clockArguments make the guest of TCG take the counter for its clock, without
// testing it against emulated timers.
func clockArguments() []string {
	return []string{fmt.Sprintf("tsc_early_khz=%d", hostTSC()), "tsc=reliable", "no_timer_check", "mitigations=off", "noreplace-smp", "cryptomgr.notests"}
}
