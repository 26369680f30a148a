package discover

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"tapwatch/internal/netns"
	"tapwatch/internal/nlsafe"
)

// retryFor is how long a name without a namespace is taken for one whose
// namespace is about to be bound; after that only the regular scans look at it.
const retryFor = 5 * time.Second

// names knows which namespace each file of netns.Dir is bound to.
type names struct {
	conn  *nlsafe.Conn
	self  netns.Cookie
	bound map[string]place
	// unready holds the names that were seen before their namespace was bound:
	// whoever makes one creates the file first.
	unready map[string]time.Time
	changed bool // since the last merge
}

// place is a namespace as one file shows it.
type place struct {
	cookie netns.Cookie
	inode  uint64
	nsid   netns.NSID
}

func newNames(conn *nlsafe.Conn, self netns.Cookie) *names {
	return &names{conn: conn, self: self, bound: map[string]place{}, unready: map[string]time.Time{}}
}

// scan reads every name. A directory that does not exist holds none.
func (n *names) scan(now time.Time) error {
	entries, err := os.ReadDir(netns.Dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("list namespaces: %w", err)
	}
	there := make(map[string]bool, len(entries))
	var errs []error
	for _, e := range entries {
		there[e.Name()] = true
		errs = append(errs, n.read(e.Name(), now))
	}
	for name := range n.bound {
		if !there[name] {
			n.forget(name)
		}
	}
	for name := range n.unready {
		if !there[name] {
			n.forget(name)
		}
	}
	return errors.Join(errs...)
}

func (n *names) forget(name string) {
	n.unbind(name)
	delete(n.unready, name)
}

func (n *names) unbind(name string) {
	if _, ok := n.bound[name]; ok {
		delete(n.bound, name)
		n.changed = true
	}
}

// read looks at one name. The file is open for that long only.
func (n *names) read(name string, now time.Time) error {
	p, err := n.visit(netns.Path(name), n.bound[name])
	switch {
	case errors.Is(err, os.ErrNotExist):
		n.forget(name)
		return nil
	case errors.Is(err, netns.ErrNotExist), errors.Is(err, os.ErrPermission) && n.fresh(name, now):
		// Whoever makes a name makes a file that nobody may read first.
		n.unbind(name)
		if _, waiting := n.unready[name]; !waiting {
			n.unready[name] = now
		}
		return nil
	case p.cookie != 0: // known, if perhaps without its nsid
		delete(n.unready, name)
		if n.bound[name] != p {
			n.bound[name] = p
			n.changed = true
		}
	}
	return err
}

// fresh says whether a name may be one that is just being made.
func (n *names) fresh(name string, now time.Time) bool {
	since, waiting := n.unready[name]
	_, known := n.bound[name]
	return !known && (!waiting || now.Sub(since) <= retryFor)
}

// visit reads what a file is bound to. A living namespace keeps its nsid, so it
// is asked for only where the namespace is another than before.
func (n *names) visit(path string, before place) (p place, err error) {
	p.nsid = netns.NoNSID
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0) // os.Open would ask whether it can be polled, five calls
	if err != nil {
		return p, &os.PathError{Op: "open", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	if p.cookie, err = netns.CookieOfFile(f); err != nil {
		return p, err
	}
	if p.cookie == before.cookie && before.nsid != netns.NoNSID {
		return before, nil
	}
	p.inode = inodeOf(f)
	if p.cookie != n.self {
		p.nsid, err = netns.AssignNSID(n.conn, f)
	}
	return p, err
}

// retryAt returns when to look at the unready names again: soon while the last
// of them is new, ever later after that; zero where none is waited for.
func (n *names) retryAt(now time.Time) (at time.Time) {
	for _, since := range n.unready {
		age := now.Sub(since)
		if age > retryFor {
			continue
		}
		next := now.Add(min(max(age/2, time.Millisecond), 250*time.Millisecond))
		if at.IsZero() || next.Before(at) {
			at = next
		}
	}
	return at
}

// retry looks at the unready names.
func (n *names) retry(now time.Time) error {
	var errs []error
	for name := range n.unready {
		errs = append(errs, n.read(name, now))
	}
	return errors.Join(errs...)
}
