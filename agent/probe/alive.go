package probe

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"tapwatch/bpf"
)

// A filter holds its program and the program its maps, so their existence proves
// nothing about the agent. Each agent therefore keeps one more map, which no
// program uses: the kernel removes it with the agent's process, whatever its end,
// and lists it in every mount and PID namespace. Its name is alivePrefix and the
// owner: 15 bytes, all that the kernel keeps.

const (
	alivePrefix = "tw_"
	aliveSize   = 512 // bytes of the map's value
)

// Living is an agent that lives, as it describes itself.
type Living struct {
	PID     int       `json:"pid"`    // in its own PID namespace
	PIDNS   uint64    `json:"pid_ns"` // inode of that namespace
	Started time.Time `json:"started"`
	Dir     string    `json:"dir"` // its hooks directory, in its own mount namespace

	owner Owner
	id    ebpf.MapID
}

// HasOurPIDs says whether PID means the same process to the caller.
func (l Living) HasOurPIDs() bool { return l.PIDNS == idOf("/proc/self/ns/pid").inode && l.PIDNS != 0 }

// proveLife makes the map that is there as long as this process keeps it.
func proveLife(o Owner, dir string) (*ebpf.Map, error) {
	about, err := json.Marshal(Living{PID: os.Getpid(), PIDNS: idOf("/proc/self/ns/pid").inode, Started: time.Now().Truncate(time.Second), Dir: dir})
	if err != nil {
		return nil, fmt.Errorf("describe agent: %w", err)
	}
	m, err := ebpf.NewMap(&ebpf.MapSpec{Name: alivePrefix + o.String(), Type: ebpf.Array, KeySize: 4, ValueSize: aliveSize, MaxEntries: 1})
	if err != nil {
		return nil, fmt.Errorf("prove that this agent lives: %w", bpf.Explain(err))
	}
	value := make([]byte, aliveSize)
	if copy(value, about) < len(about) { // a very long path: nobody need know it
		value = make([]byte, aliveSize)
	}
	if err := m.Update(uint32(0), value, ebpf.UpdateAny); err != nil {
		return nil, errors.Join(fmt.Errorf("prove that this agent lives: %w", err), m.Close())
	}
	return m, nil
}

// living returns every agent that lives on this machine. It needs CAP_SYS_ADMIN.
func living() (all []Living, err error) {
	err = eachMap(func(m *ebpf.Map, name string) bool {
		hex, ok := strings.CutPrefix(name, alivePrefix)
		if !ok || m.ValueSize() != aliveSize {
			return false
		}
		o, err := parseOwner(hex)
		if err != nil {
			return false
		}
		var l Living // says nothing where the map does not
		value := make([]byte, aliveSize)
		if m.Lookup(uint32(0), &value) == nil {
			_ = json.Unmarshal([]byte(unix.ByteSliceToString(value)), &l)
		}
		l.owner = o
		if info, err := m.Info(); err == nil {
			l.id, _ = info.ID()
		}
		all = append(all, l)
		return false
	})
	return all, err
}

// AgentOf returns the living agent that owns the hooks of a directory, nil where
// none lives. It needs CAP_SYS_ADMIN.
func AgentOf(hooksDir string) (*Living, error) {
	o := readOwner(hooksDir)
	if o == 0 {
		return nil, nil
	}
	all, err := living()
	if err != nil {
		return nil, err
	}
	for _, l := range all {
		if l.owner == o {
			return &l, nil
		}
	}
	return nil, nil
}
