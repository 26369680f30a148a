package recorder

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"tapwatch/agent/path"
)

// JournalConfig says where what happened is kept, and how much of it.
type JournalConfig struct {
	Dir   string
	Keep  time.Duration // 0 means seven days
	Bytes int64         // of all files; 0 means 256 MiB
	Log   *slog.Logger  // nil means slog.Default
}

const (
	journalKeep  = 7 * 24 * time.Hour
	journalBytes = 256 << 20
	// journalSegments is how many files the bytes are parted into: the eldest goes as a
	// whole.
	journalSegments = 16
	// journalBehind is how many lines may wait for a slow disk. More are lost, and counted.
	journalBehind = 8192
	// journalGather is how long a line waits for others, to be written with them.
	journalGather = 100 * time.Millisecond
	// journalMost is how many events one question gets, the latest.
	journalMost  = 10_000
	journalEnds  = ".jsonl"
	journalNames = "20060102T150405.000000000"
)

// Journal keeps on disk what happened to sandboxes, across restarts. A file is lines of
// JSON; its name is when it was begun. A nil one keeps nothing.
type Journal struct {
	cfg   JournalConfig
	lock  *os.File
	lines chan entry
	ended chan struct{}

	// Of the goroutine that writes.
	file  *os.File // nil: none was begun
	size  int64
	began time.Time

	mu     sync.Mutex
	closed bool
	lost   int // lines since that was last said
}

// entry is a line: an event, or the boot of a sandbox.
type entry struct {
	*path.Event
	BootOf string     `json:"boot_of,omitempty"`
	Boot   *path.Boot `json:"boot,omitempty"`
}

// OpenJournal makes the directory where it is not there, and takes it for this process.
func OpenJournal(cfg JournalConfig) (_ *Journal, err error) {
	cfg.Keep, cfg.Bytes = cmp.Or(cfg.Keep, journalKeep), cmp.Or(cfg.Bytes, journalBytes)
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("keep the history: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(cfg.Dir, "lock"), os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("keep the history: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		return nil, fmt.Errorf("keep the history: another agent writes to %s", cfg.Dir)
	}
	j := &Journal{cfg: cfg, lock: lock, lines: make(chan entry, journalBehind), ended: make(chan struct{})}
	j.expire(time.Now())
	go j.run()
	return j, nil
}

// note has a line written soon; it never waits.
func (j *Journal) note(e entry) {
	if j == nil {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return
	}
	select {
	case j.lines <- e:
	default:
		j.lost++
	}
}

func (j *Journal) run() {
	defer close(j.ended)
	for first := range j.lines {
		time.Sleep(journalGather)
		batch := []entry{first}
		for more := true; more; {
			select {
			case e, open := <-j.lines:
				if more = open; open {
					batch = append(batch, e)
				}
			default:
				more = false
			}
		}
		if err := j.write(batch); err != nil {
			j.cfg.Log.Warn("the history is not kept on disk", "dir", j.cfg.Dir, "lines", len(batch), "err", err)
		}
	}
}

func (j *Journal) write(batch []entry) error {
	var b bytes.Buffer
	for _, e := range batch {
		_ = json.NewEncoder(&b).Encode(e) // it always marshals
	}
	j.mu.Lock()
	lost := j.lost
	j.lost = 0
	j.mu.Unlock()
	if lost > 0 {
		j.cfg.Log.Warn("the disk is too slow for the history", "lines_lost", lost)
	}
	if j.file == nil || j.size >= j.cfg.Bytes/journalSegments || time.Since(j.began) >= 24*time.Hour {
		if err := j.begin(); err != nil {
			return err
		}
	}
	n, err := j.file.Write(b.Bytes())
	j.size += int64(n)
	if err != nil {
		err = errors.Join(err, j.file.Close())
		j.file = nil // it may end in half a line: another is begun
	}
	return err
}

// begin begins a file, and removes those that are too old or too many.
func (j *Journal) begin() error {
	if j.file != nil {
		j.file.Close()
		j.file = nil
	}
	now := time.Now()
	j.expire(now)
	f, err := os.OpenFile(filepath.Join(j.cfg.Dir, now.UTC().Format(journalNames)+journalEnds), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	j.file, j.size, j.began = f, 0, now
	return nil
}

// files are the names of the files, the eldest first.
func (j *Journal) files() []string {
	names, _ := filepath.Glob(filepath.Join(j.cfg.Dir, "*"+journalEnds)) // the pattern is well-formed
	slices.Sort(names)
	return names
}

// expire removes files that hold nothing that is to be kept. A file of ours has its
// name from a time; no other is touched.
func (j *Journal) expire(now time.Time) {
	sum := int64(0)
	for _, name := range slices.Backward(j.files()) {
		if _, err := time.Parse(journalNames, strings.TrimSuffix(filepath.Base(name), journalEnds)); err != nil {
			continue
		}
		info, err := os.Stat(name)
		if err != nil {
			continue
		}
		sum += info.Size()
		if now.Sub(info.ModTime()) > j.cfg.Keep || sum > j.cfg.Bytes-j.cfg.Bytes/journalSegments {
			if err := os.Remove(name); err != nil {
				j.cfg.Log.Warn("remove old history", "err", err)
			}
		}
	}
}

// Close writes what waits.
func (j *Journal) Close() error {
	if j == nil {
		return nil
	}
	j.mu.Lock()
	closed := j.closed
	j.closed = true
	if !closed {
		close(j.lines)
	}
	j.mu.Unlock()
	if closed {
		return nil
	}
	<-j.ended
	if j.file != nil {
		j.file.Close()
	}
	return j.lock.Close()
}

// Past returns the latest events that fit, in the order of time, how many more there
// are, and the boots of sandboxes by id.
func (j *Journal) Past(q path.Question) (events []path.Event, dropped int, boots map[string]*path.Boot, err error) {
	boots = map[string]*path.Boot{}
	if j == nil {
		return nil, 0, boots, nil
	}
	want, _ := json.Marshal(q.Sandbox)
	for _, name := range j.files() {
		info, err := os.Stat(name)
		if err != nil || !q.Since.IsZero() && info.ModTime().Before(q.Since.Add(-time.Minute)) {
			continue // gone meanwhile, or older
		}
		f, err := os.Open(name)
		if err != nil {
			continue
		}
		lines := bufio.NewScanner(f)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			if q.Sandbox != "" && !bytes.Contains(lines.Bytes(), want) {
				continue
			}
			var e entry
			if json.Unmarshal(lines.Bytes(), &e) != nil {
				continue // cut off by the end of an agent, or not ours
			}
			if e.BootOf != "" {
				boots[e.BootOf] = e.Boot
			} else if e.Event != nil && q.Fits(e.Event) {
				events = append(events, *e.Event)
			}
		}
		err = lines.Err()
		f.Close()
		if err != nil {
			return nil, 0, nil, fmt.Errorf("read the history in %s: %w", name, err)
		}
		if len(events) > 2*journalMost {
			dropped += len(events) - journalMost
			events = slices.Clone(events[len(events)-journalMost:])
		}
	}
	slices.SortStableFunc(events, func(a, b path.Event) int { return a.Time.Compare(b.Time) })
	if n := len(events) - journalMost; n > 0 {
		dropped += n
		events = events[n:]
	}
	return events, dropped, boots, nil
}
