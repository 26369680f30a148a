package probe

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf/link"

	"tapwatch/bpf"
)

// attachTracepoints lets the programs see every frame of the host; which ones
// they count says the map of devices. It is done once, when the first device
// needs it, and undone by Close.
func (p *Probe) attachTracepoints() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.global) > 0 {
		return nil
	}
	var links []link.Link
	for _, dir := range directions {
		l, err := link.AttachTracing(link.TracingOptions{Program: p.tap.Programs[dir.global]})
		if err != nil {
			return errors.Join(fmt.Errorf("attach tracepoint: %w", bpf.Explain(err)), closeLinks(links))
		}
		links = append(links, l)
	}
	p.global = links
	return nil
}
