package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Ignore says of taps that nobody wants to hear of them, e.g. those of a VPN. A
// tap is ignored where every pattern that is not empty fits (path.Match).
type Ignore struct {
	Netns  string // pattern of the namespace's name
	Device string // pattern of the device's name
	Holder string // pattern of the name of the process that holds the tap
}

// Matches says whether a tap is to be ignored. A pattern matches no empty name:
// where the name of the namespace or the holder is not known, it does not fit.
func (i Ignore) Matches(netns, device, holder string) bool {
	return matches(i.Netns, netns) && matches(i.Device, device) && matches(i.Holder, holder)
}

// String is the form that ParseIgnore reads.
func (i Ignore) String() string {
	var parts []string
	for _, p := range []struct{ key, pattern string }{{"netns", i.Netns}, {"device", i.Device}, {"holder", i.Holder}} {
		if p.pattern != "" {
			parts = append(parts, p.key+"="+p.pattern)
		}
	}
	return strings.Join(parts, ",")
}

// ParseIgnore reads KEY=PATTERN[,KEY=PATTERN...], where a key is netns, device or
// holder.
func ParseIgnore(text string) (Ignore, error) {
	var i Ignore
	for part := range strings.SplitSeq(text, ",") {
		key, pattern, ok := strings.Cut(part, "=")
		if !ok || pattern == "" {
			return i, errors.New("must be like device=tailscale0 or netns=ns-*,holder=qemu*")
		}
		if err := checkPattern(pattern); err != nil {
			return i, fmt.Errorf("%s: %w", key, err)
		}
		field := map[string]*string{"netns": &i.Netns, "device": &i.Device, "holder": &i.Holder}[key]
		switch {
		case field == nil:
			return i, fmt.Errorf("unknown key %q: must be netns, device or holder", key)
		case *field != "":
			return i, fmt.Errorf("the key %q is there twice", key)
		}
		*field = pattern
	}
	return i, nil
}

// Ignores is a list of Ignore as the value of a flag: given several times, or with
// semicolons between the items.
type Ignores []Ignore

// Set adds items. It implements pflag.Value.
func (l *Ignores) Set(text string) error {
	return appendAll(l, strings.SplitSeq(text, ";"))
}

// Append implements pflag.SliceValue.
func (l *Ignores) Append(item string) error {
	i, err := ParseIgnore(item)
	if err == nil {
		*l = append(*l, i)
	}
	return err
}

// Replace implements pflag.SliceValue.
func (l *Ignores) Replace(items []string) error {
	*l = nil
	return appendAll(l, slices.Values(items))
}

// GetSlice implements pflag.SliceValue.
func (l *Ignores) GetSlice() []string {
	var out []string
	for _, i := range *l {
		out = append(out, i.String())
	}
	return out
}

// String implements pflag.Value.
func (l *Ignores) String() string { return strings.Join(l.GetSlice(), ";") }

// Type implements pflag.Value: it is what help shows.
func (l *Ignores) Type() string { return "KEY=PATTERN" }
