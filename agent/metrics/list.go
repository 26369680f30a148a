package metrics

// Family is one metric as docs/metrics.md lists it.
type Family struct {
	Name, Type, Help string
	Labels           []string
	Detail           bool // only where the operator wants all
}

// Families are all that the agent exports of its host, in the order of names.go.
func Families() (all []Family) {
	for _, f := range families {
		all = append(all, Family{f.name, f.typ, f.help, f.labels, f.detail})
	}
	return all
}
