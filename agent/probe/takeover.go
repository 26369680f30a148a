package probe

import (
	"github.com/cilium/ebpf"

	"tapwatch/internal/netns"
)

// What of a killed agent's filters may stay on a device.

// standing is what the device has of our filters.
type standing struct {
	counting bool // both are there and count in our maps
	current  bool // both also run the programs that we have loaded
}

// standingOn looks at the device of the present namespace.
func (p *Probe) standingOn(d netns.Device) (standing, error) {
	ours, err := p.hooks.filtersOf(d)
	if err != nil {
		return standing{}, err
	}
	s := standing{counting: true, current: true}
	for i, dir := range directions {
		f := ours[i]
		s.counting = s.counting && f != nil && p.countsHere(ebpf.ProgramID(f.Id))
		s.current = s.current && s.counting && f.Tag == p.tap.tags[dir.name]
	}
	return s, nil
}

// countsHere says whether a program, maybe of an agent before us, writes to the
// maps that we read.
func (p *Probe) countsHere(id ebpf.ProgramID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if known, ok := p.programs[id]; ok {
		return known
	}
	here := usesMaps(id, p.tap.mapIDs)
	p.programs[id] = here // ids are not reused while the filter that names one stands
	return here
}

func usesMaps(id ebpf.ProgramID, want []ebpf.MapID) bool {
	prog, err := ebpf.NewProgramFromID(id)
	if err != nil {
		return false
	}
	defer prog.Close()
	info, err := prog.Info()
	if err != nil {
		return false
	}
	used := map[ebpf.MapID]bool{}
	ids, _ := info.MapIDs()
	for _, id := range ids {
		used[id] = true
	}
	for _, id := range want {
		if !used[id] {
			return false
		}
	}
	return true
}
