package flow

import (
	"errors"
	"fmt"
	"io"
	"net/netip"

	"github.com/cilium/ebpf"

	"tapwatch/bpf"
	"tapwatch/internal/netns"
)

// Path is where the requests to one sandbox pass.
type Path struct {
	Netns netns.Cookie
	Tap   uint32     // its ifindex in the namespace; 0: not known yet
	Guest netip.Addr // of the guest's eth0
	// Vpeer is where the proxy reaches the relay of the namespace, and HostIP where
	// its kernel passes on to the guest (dnat); invalid: there is none.
	Vpeer, HostIP netip.Addr
}

// Add has the requests of paths measured, or takes what changed of them.
// Connections that are open already are taken in, which costs some milliseconds at
// a thousand processes however many paths there are.
func (f *Flow) Add(paths ...Path) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.objs == nil {
		return errors.New("add path: the programs are gone")
	}
	var errs []error
	added := false
	for _, p := range paths {
		if f.paths[p.Netns] == p {
			continue
		}
		if err := f.put(p); err != nil {
			errs = append(errs, fmt.Errorf("add path: %w", err))
			continue
		}
		added = true
	}
	if added {
		errs = append(errs, f.watchTaps(), f.takeIn())
	}
	return errors.Join(errs...)
}

func (f *Flow) put(p Path) error {
	if !p.Guest.Is4() {
		return fmt.Errorf("%s is no IPv4 address of a guest", p.Guest)
	}
	netnsKey := uint64(p.Netns)
	old := f.paths[p.Netns]
	if old.Vpeer != p.Vpeer || old.HostIP != p.HostIP {
		f.removeDests(old)
	}
	for _, d := range []struct {
		addr netip.Addr
		dnat uint32
	}{{p.Vpeer, 0}, {p.HostIP, 1}} {
		if !d.addr.IsValid() {
			continue
		}
		if err := f.objs.Maps[bpf.FlowMapDests].Put(d.addr.As4(), bpf.FlowDest{Netns: netnsKey, Dnat: d.dnat}); err != nil {
			return err
		}
	}
	if err := f.objs.Maps[bpf.FlowMapSeen].Update(netnsKey, bpf.FlowSeen{}, ebpf.UpdateNoExist); err != nil && !errors.Is(err, ebpf.ErrKeyExist) {
		return err
	}
	space := bpf.FlowSpace{Tap: p.Tap, Guest: wire(p.Guest)}
	if err := f.objs.Maps[bpf.FlowMapSpaces].Put(netnsKey, space); err != nil {
		return err
	}
	f.paths[p.Netns] = p
	f.ownHistograms(p.Netns)
	return nil
}

// Keep forgets all paths but these. What they added to the histograms of all stays.
func (f *Flow) Keep(paths ...Path) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	kept := make(map[netns.Cookie]bool, len(paths))
	for _, p := range paths {
		kept[p.Netns] = true
	}
	var errs []error
	for c := range f.paths {
		if !kept[c] {
			errs = append(errs, f.remove(c))
		}
	}
	return errors.Join(errs...)
}

// remove is one step of Keep, under its lock.
func (f *Flow) remove(c netns.Cookie) error {
	p, ok := f.paths[c]
	if !ok || f.objs == nil {
		return nil
	}
	delete(f.paths, c)
	f.removeDests(p)
	key := uint64(c)
	delete(f.latest, key)
	var errs []error
	for _, name := range []string{bpf.FlowMapSpaces, bpf.FlowMapSeen} {
		if err := f.objs.Maps[name].Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			errs = append(errs, fmt.Errorf("remove path: %w", err))
		}
	}
	f.disown(c)
	return errors.Join(append(errs, f.watchTaps())...)
}

func (f *Flow) removeDests(p Path) {
	for _, addr := range []netip.Addr{p.Vpeer, p.HostIP} {
		if addr.IsValid() {
			_ = f.objs.Maps[bpf.FlowMapDests].Delete(addr.As4()) // it may never have been there
		}
	}
}

// watchTaps has every frame of the host looked at only while that is of use.
func (f *Flow) watchTaps() error {
	f.dnat = 0
	indexes := uint64(0)
	for _, p := range f.paths {
		indexes |= 1 << (p.Tap & 63)
		if p.HostIP.IsValid() {
			f.dnat++
		}
	}
	if err := f.objs.Variables[bpf.FlowVarDnatPaths].Set(uint32(f.dnat)); err != nil {
		return fmt.Errorf("configure flow programs: %w", err)
	}
	if err := f.objs.Variables[bpf.FlowVarTapIndexes].Set(indexes); err != nil {
		return fmt.Errorf("configure flow programs: %w", err)
	}
	var err error
	if f.takesTaken == nil && len(f.paths) > 0 && f.objs.Programs[bpf.FlowProgFlowTaken] != nil {
		if f.takesTaken, err = f.attach(bpf.FlowProgFlowTaken); err != nil {
			return err
		}
	}
	if f.takesTaken != nil && len(f.paths) == 0 {
		err = f.takesTaken.Close()
		f.takesTaken = nil
	}
	if f.takesDNAT == nil && f.dnat > 0 {
		if f.takesDNAT, err = f.attach(bpf.FlowProgFlowFromGuest); err != nil {
			return err
		}
	}
	if f.takesDNAT != nil && f.dnat == 0 {
		err = errors.Join(err, f.takesDNAT.Close())
		f.takesDNAT = nil
	}
	return err
}

// takeIn finds the sockets of connections that were there before.
func (f *Flow) takeIn() error {
	r, err := f.known.Open()
	if err != nil {
		return fmt.Errorf("open socket iterator: %w", err)
	}
	defer r.Close()
	if _, err := io.Copy(io.Discard, r); err != nil {
		return fmt.Errorf("read socket iterator: %w", err)
	}
	return nil
}

// wire is an address as it stands in a packet, seen as a number of this machine.
func wire(a netip.Addr) uint32 {
	b := a.As4()
	return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
}

func unwire(n uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(n), byte(n >> 8), byte(n >> 16), byte(n >> 24)})
}
