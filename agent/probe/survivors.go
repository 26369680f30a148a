package probe

import (
	"errors"
	"fmt"
	"hash"
	"hash/fnv"
	"maps"
	"os"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"tapwatch/bpf"
)

// A killed agent's filters stay, and with them the programs and their maps. An
// agent that starts in its place finds the maps by their name and counts on in
// them, so that no frame is missed and no filter need be touched.

// survivors are the maps that outlive an agent, and the letter that their name
// begins with.
var survivors = map[string]string{bpf.TapMapTaps: "t", bpf.TapMapSyns: "s", bpf.TapMapDrops: "d", bpf.TapMapActive: "a", bpf.TapMapRefusals: "r"}

// nameMaps gives the maps that outlive an agent names by which the next one of
// the same owner finds them: 15 bytes is all that the kernel keeps.
// Where the layout or the configuration is another, so is the name, and counting
// begins anew.
func nameMaps(spec *ebpf.CollectionSpec, owner Owner, cfg Config) error {
	h := fnv.New32a()
	fmt.Fprint(h, cfg.EnvdPort) // what was counted for one port does not speak for another
	for _, name := range slices.Sorted(maps.Keys(survivors)) {
		m := spec.Maps[name]
		if m == nil {
			return fmt.Errorf("name maps: no map %s", name)
		}
		fmt.Fprint(h, name, m.Type, m.MaxEntries, m.Flags)
		if m.Type != ebpf.RingBuf {
			writeLayout(h, m.Key)
			writeLayout(h, m.Value)
		}
	}
	for name, prefix := range survivors {
		spec.Maps[name].Name = fmt.Sprintf("%s%06x%08x", prefix, owner.key(), h.Sum32())
	}
	return nil
}

// writeLayout hashes what a type looks like: two types with the same hash have
// fields of the same names in the same places.
func writeLayout(h hash.Hash, t btf.Type) {
	switch t := btf.UnderlyingType(t).(type) {
	case *btf.Struct:
		fmt.Fprint(h, "struct", t.Size)
		for _, m := range t.Members {
			fmt.Fprint(h, m.Name, m.Offset)
			writeLayout(h, m.Type)
		}
	case *btf.Array:
		fmt.Fprint(h, "array", t.Nelems)
		writeLayout(h, t.Type)
	default:
		size, err := btf.Sizeof(t)
		fmt.Fprint(h, t.TypeName(), size, err)
	}
}

// findMaps returns the maps that a killed agent left, by their name in the spec;
// none where there are not all of them. It needs CAP_SYS_ADMIN.
func findMaps(spec *ebpf.CollectionSpec) (map[string]*ebpf.Map, error) {
	found := map[string]*ebpf.Map{}
	err := eachMap(func(m *ebpf.Map, name string) bool {
		for key := range survivors {
			s := spec.Maps[key]
			if s.Name != name || s.Compatible(m) != nil {
				continue
			}
			closeMap(found[key]) // of several the newest: filters of the others are swapped
			found[key] = m
			return true
		}
		return false
	})
	if err != nil || len(found) < len(survivors) {
		closeMaps(found)
		return nil, err
	}
	return found, nil
}

// eachMap calls fn with every map of the host, in the order that they were made;
// fn says whether it keeps the map.
func eachMap(fn func(m *ebpf.Map, name string) bool) error {
	for id := ebpf.MapID(0); ; {
		next, err := ebpf.MapGetNextID(id)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("list maps: %w", err)
		}
		id = next
		m, err := ebpf.NewMapFromID(id)
		if err != nil {
			continue // it went meanwhile, or is of a type that is no business of ours
		}
		info, err := m.Info()
		if err != nil || !fn(m, info.Name) {
			closeMap(m)
		}
	}
}

func closeMaps(maps map[string]*ebpf.Map) {
	for _, m := range maps {
		closeMap(m)
	}
}

// closeMap gives up a map that was only looked at: nothing can be done about an
// error, and nothing hangs on it.
func closeMap(m *ebpf.Map) {
	if m != nil {
		_ = m.Close()
	}
}
