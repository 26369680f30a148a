package network

import (
	"errors"
	"fmt"

	"tapwatch/internal/e2b"
	"tapwatch/internal/netns"
	"tapwatch/internal/registry"
)

// make claims the lowest index that nobody has and makes its slot.
func (p *Pool) make() (Slot, error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return Slot{}, ErrClosed
	}
	p.making.Add(1) // under the lock: Close waits for all that began before it
	p.mu.Unlock()
	defer p.making.Done()
	for i := p.cfg.First; i <= e2b.MaxIndex; i++ {
		s := Slot{Index: i}
		if p.hosts.taken(s) != "" {
			continue
		}
		err := p.claim(s)
		if err == nil {
			err = p.create(s)
		}
		if err == nil {
			return s, nil
		}
		if !errors.Is(err, ErrInUse) && !errors.Is(err, registry.ErrTaken) {
			return Slot{}, err
		} // else it is somebody's: the next one
	}
	return Slot{}, fmt.Errorf("no free slot from %d to %d: 10.12.0.0/16 holds no more", p.cfg.First, e2b.MaxIndex)
}

// claim makes the index ours, or says that it is another's: ErrInUse by its
// names or ErrTaken by its record. The names are looked at first: a record that
// is found without a cookie, because its launcher died in between, then means
// that whatever bears the names came after the record.
func (p *Pool) claim(s Slot) error {
	p.mu.Lock()
	if _, ours := p.records[s]; ours {
		p.mu.Unlock()
		return registry.ErrTaken
	}
	r := s.Record(p.owner)
	p.records[s] = r // holds the index against our other goroutines
	p.mu.Unlock()
	err := free(s)
	if err == nil {
		err = p.cfg.Registry.Claim(r)
	}
	if err != nil {
		p.mu.Lock()
		delete(p.records, s)
		p.mu.Unlock()
	}
	return err
}

// create makes a claimed slot and completes its record by the cookie; where it
// cannot, the claim is given up.
func (p *Pool) create(s Slot) error {
	if err := Create(s); err != nil {
		return errors.Join(err, p.forget(s))
	}
	cookie, err := netns.CookieOf(s.Netns())
	if err == nil {
		err = p.change(s, func(r *registry.Slot) { r.Cookie = cookie })
	}
	if err != nil {
		return errors.Join(fmt.Errorf("record slot %d: %w", s.Index, err), Remove(s), p.forget(s))
	}
	return nil
}

// change writes the record of a slot that is ours anew.
func (p *Pool) change(s Slot, edit func(*registry.Slot)) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	r, ok := p.records[s]
	if !ok {
		return fmt.Errorf("slot %d is not ours", s.Index)
	}
	edit(&r)
	p.records[s] = r
	return p.cfg.Registry.Put(r)
}

// forget drops the record of a slot that is no more.
func (p *Pool) forget(s Slot) error {
	p.mu.Lock()
	delete(p.records, s)
	p.mu.Unlock()
	return p.cfg.Registry.Remove(s.Index)
}

// RemoveOwned removes the slot of a record if what bears its name is still what
// the record's launcher made, and says whether it did: where the namespace has
// another cookie, somebody has removed ours and made their own.
func RemoveOwned(r registry.Slot) (bool, error) {
	s := Slot{Index: r.Index}
	now, err := netns.CookieOf(s.Netns())
	if err != nil && !errors.Is(err, netns.ErrNotExist) {
		return false, fmt.Errorf("remove slot %d: %w", s.Index, err)
	}
	if err == nil && r.Cookie != 0 && now != r.Cookie {
		return false, nil
	}
	return true, Remove(s)
}
