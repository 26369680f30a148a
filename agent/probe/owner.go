package probe

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/cilium/ebpf"
)

// Owner names one agent's hooks, on the whole machine and whatever namespaces the
// agent lives in. It is 48 random bits. The agent writes it into a file of its
// hooks directory, so that the next agent of that directory takes the hooks over:
// the directory itself decides, not its path. Zero is nobody.
type Owner uint64

const (
	ownerBits = 48
	ownerFile = "owner" // in the hooks directory
	// ownerPatience is how long a start waits for a killed agent of the same
	// directory to let go of its last file: the lock may go first.
	ownerPatience = time.Second
)

func (o Owner) String() string { return fmt.Sprintf("%012x", uint64(o)) }

// key is what fits into the handle of a filter and the name of a map. Two living
// agents never have the same one: see claim.
func (o Owner) key() uint32 { return uint32(o) & 0xffffff }

// handle is the handle of an owner's filters. Those of versions that had no owner
// began with "tw".
func (o Owner) handle() uint32 { return 'w'<<24 | o.key() }

func parseOwner(s string) (Owner, error) {
	n, err := strconv.ParseUint(s, 16, ownerBits)
	if err != nil || n == 0 || len(s) != ownerBits/4 {
		return 0, fmt.Errorf("parse owner of hooks: %q is none", s)
	}
	return Owner(n), nil
}

// readOwner returns zero where the directory has none, or an illegible one.
func readOwner(dir string) Owner {
	b, err := os.ReadFile(filepath.Join(dir, ownerFile))
	if err != nil {
		return 0
	}
	o, _ := parseOwner(strings.TrimSpace(string(b)))
	return o
}

// writeOwner replaces the file whole, so that no kill leaves half of one.
func writeOwner(dir string, o Owner) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("note owner of hooks: %w", err)
	}
	path := filepath.Join(dir, ownerFile)
	if err := os.WriteFile(path+"~", []byte(o.String()+"\n"), 0o644); err != nil {
		return errors.Join(fmt.Errorf("note owner of hooks: %w", err), removeIfThere(path+"~"))
	}
	if err := os.Rename(path+"~", path); err != nil {
		return errors.Join(fmt.Errorf("note owner of hooks: %w", err), removeIfThere(path+"~"))
	}
	return nil
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// claim makes the calling process the owner of the hooks that the directory's last
// agent left, or a new owner where there was none. The map that it returns proves
// to everybody that the owner lives. Why says what is not as it should be: a
// restart will then not find its hooks again.
func claim(dir string) (o Owner, alive *ebpf.Map, why, err error) {
	o = readOwner(dir)
	deadline := time.Now().Add(ownerPatience)
	for fresh := o == 0; ; {
		if fresh {
			if o, err = newOwner(); err != nil {
				return 0, nil, nil, err
			}
		}
		if alive, err = proveLife(o, dir); err != nil {
			return 0, nil, nil, err
		}
		twin, err := hasTwin(o, alive)
		if err != nil {
			return 0, nil, nil, errors.Join(err, alive.Close())
		}
		if !twin {
			if fresh {
				why = errors.Join(why, writeOwner(dir, o))
			}
			return o, alive, why, nil
		}
		closeMap(alive)
		if fresh || time.Now().After(deadline) {
			why = fmt.Errorf("another living agent has the owner %s of %s: counting begins anew", o, dir)
			fresh = true
			continue
		}
		time.Sleep(ownerPatience / 50)
	}
}

// newOwner chooses a number of which the kernel knows no map.
func newOwner() (Owner, error) {
	used := map[string]bool{}
	if err := eachMap(func(_ *ebpf.Map, name string) bool {
		used[keyInName(name)] = true
		return false
	}); err != nil {
		return 0, err
	}
	for {
		var b [8]byte
		_, _ = rand.Read(b[:]) // crypto/rand.Read never fails
		o := Owner(binary.NativeEndian.Uint64(b[:]) & (1<<ownerBits - 1))
		if o != 0 && !used[fmt.Sprintf("%06x", o.key())] {
			return o, nil
		}
	}
}

// keyInName returns the key of the owner where the name is that of a survivor.
func keyInName(name string) string {
	if len(name) != len("t")+6+8 {
		return ""
	}
	return name[1:7]
}

// hasTwin says whether another living agent has the same number or the same key.
func hasTwin(o Owner, alive *ebpf.Map) (bool, error) {
	info, err := alive.Info()
	if err != nil {
		return false, fmt.Errorf("describe map: %w", err)
	}
	own, _ := info.ID()
	all, err := living()
	if err != nil {
		return false, err
	}
	for _, other := range all {
		if other.id != own && other.owner.key() == o.key() {
			return true, nil
		}
	}
	return false, nil
}

// disown forgets an owner that has no hooks left. The notes of clsact qdiscs keep it.
func disown(dir string) error {
	if notes, _ := filepath.Glob(filepath.Join(dir, "*-*")); len(notes) > 0 {
		return nil
	}
	if err := removeIfThere(filepath.Join(dir, ownerFile)); err != nil {
		return fmt.Errorf("forget owner of hooks: %w", err)
	}
	_ = os.Remove(dir) // not there or not empty is fine
	return nil
}
