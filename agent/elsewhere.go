package agent

// elsewhereMost bounds how many namespaces are named.
const elsewhereMost = 4

// tapElsewhere names the namespaces that have a device of the slot's tap's name,
// where the slot has none, and are nobody's slot themselves: there it was made, or
// has been moved to.
func (m *model) tapElsewhere(s *slot) []string {
	if !s.links || s.tap != nil || s.entry.Binding.Idle || m.nameOf == nil {
		return nil
	}
	var in []string
	for _, l := range m.links.Snapshot() {
		c := l.Netns
		if l.Name != s.entry.Binding.Tap || m.slots[c] != nil || len(in) == elsewhereMost {
			continue
		}
		name := "the host's namespace"
		if c != m.self {
			name = m.nameOf(c)
		}
		in = append(in, name)
	}
	return in
}
