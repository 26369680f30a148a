package probe

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"tapwatch/bpf"
)

// tapObjects is what bpf/tap.c makes, without what this kernel cannot load.
type tapObjects struct {
	*ebpf.Collection
	Taps   *ebpf.Map
	mapIDs []ebpf.MapID      // of the maps that programs must use to count for us
	tags   map[string]string // of the programs, by name
	taken  bool              // the maps are those of an agent before us
}

// Close unloads the programs and maps; what is attached keeps its own.
func (o *tapObjects) Close() error {
	if o.Collection != nil {
		o.Collection.Close()
	}
	return nil
}

// loadTap loads what measures taps. takeOver says that the maps of a killed
// agent are to be looked for.
func loadTap(cfg Config, owner Owner, takeOver bool, leaveOut []string) (*tapObjects, error) {
	spec, err := tapSpec(cfg, owner, leaveOut)
	if err != nil {
		return nil, err
	}
	types, giveBack := bpf.Types()
	defer giveBack()
	opts := ebpf.CollectionOptions{Cache: types}
	if takeOver {
		if opts.MapReplacements, err = findMaps(spec); err != nil {
			return nil, err
		}
		defer closeMaps(opts.MapReplacements) // the collection has its own handles
	}
	coll, err := ebpf.NewCollectionWithOptions(spec, opts)
	if err != nil {
		return nil, fmt.Errorf("load tap programs: %w", bpf.Explain(err))
	}
	o := &tapObjects{Collection: coll, Taps: coll.Maps[bpf.TapMapTaps], tags: map[string]string{}, taken: opts.MapReplacements != nil}
	if err := o.describe(); err != nil {
		return nil, errors.Join(fmt.Errorf("load tap programs: %w", err), o.Close())
	}
	return o, nil
}

func tapSpec(cfg Config, owner Owner, leaveOut []string) (*ebpf.CollectionSpec, error) {
	spec, err := bpf.LoadTap()
	if err != nil {
		return nil, fmt.Errorf("read tap programs: %w", err)
	}
	if err := spec.Variables[bpf.TapVarEnvdPort].Set(cfg.EnvdPort); err != nil {
		return nil, fmt.Errorf("configure tap programs: %w", err)
	}
	for _, name := range leaveOut {
		delete(spec.Programs, name)
	}
	return spec, nameMaps(spec, owner, cfg)
}

// describe reads from the kernel what takeover goes by.
func (o *tapObjects) describe() error {
	for _, dir := range directions {
		// Nothing but this keeps what only other programs write to.
		if prog := o.Programs[dir.name]; prog != nil {
			for _, name := range []string{bpf.TapMapDrops, bpf.TapMapRefusals} {
				if err := prog.BindMap(o.Maps[name]); err != nil {
					return fmt.Errorf("bind map: %w", err)
				}
			}
		}
	}
	for name, prog := range o.Programs {
		info, err := prog.Info()
		if err != nil {
			return fmt.Errorf("describe program: %w", err)
		}
		o.tags[name] = info.Tag
	}
	for name := range survivors {
		info, err := o.Maps[name].Info()
		if err != nil {
			return fmt.Errorf("describe map: %w", err)
		}
		id, ok := info.ID()
		if !ok {
			return errors.New("describe map: it has no id")
		}
		o.mapIDs = append(o.mapIDs, id)
	}
	return nil
}
