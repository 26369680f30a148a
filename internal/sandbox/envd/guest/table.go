package guest

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"syscall"

	pb "tapwatch/internal/sandbox/envd/proto/process"
)

// What a selector may do wrong.
var (
	errNoProcess = errors.New("no such process")
	errUnnamed   = errors.New("process is not named: set pid or tag")
)

// table holds the processes that run now.
type table struct {
	mu    sync.Mutex
	byPID map[uint32]*running
	empty sync.WaitGroup
}

func newTable() *table { return &table{byPID: map[uint32]*running{}} }

func (t *table) add(p *running) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.byPID[p.pid] = p
	t.empty.Add(1)
}

// remove forgets a process; a newer one of the same pid stays.
func (t *table) remove(p *running) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byPID[p.pid] == p {
		delete(t.byPID, p.pid)
	}
	t.empty.Done()
}

// all lists the processes by pid.
func (t *table) all() []*running {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]*running, 0, len(t.byPID))
	for _, p := range t.byPID {
		list = append(list, p)
	}
	slices.SortFunc(list, func(a, b *running) int { return cmp.Compare(a.pid, b.pid) })
	return list
}

// find returns the process of that pid, or the first with that tag.
func (t *table) find(sel *pb.ProcessSelector) (*running, error) {
	switch by := sel.GetSelector().(type) {
	case *pb.ProcessSelector_Pid:
		for _, p := range t.all() {
			if p.pid == by.Pid {
				return p, nil
			}
		}
		return nil, fmt.Errorf("%w: pid %d", errNoProcess, by.Pid)
	case *pb.ProcessSelector_Tag:
		for _, p := range t.all() {
			if p.info.Tag != nil && *p.info.Tag == by.Tag {
				return p, nil
			}
		}
		return nil, fmt.Errorf("%w: tag %q", errNoProcess, by.Tag)
	}
	return nil, errUnnamed
}

// killAll ends every process group and waits for the last.
func (t *table) killAll() {
	for _, p := range t.all() {
		_ = p.signal(syscall.SIGKILL) // errEnded is what we want
	}
	t.empty.Wait()
}
