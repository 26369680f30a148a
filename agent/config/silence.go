package config

import (
	"errors"
	"fmt"
	"path"
	"time"
)

// Silence says of sandboxes that somebody works on them: until a time, what is
// found about them raises no alert.
type Silence struct {
	Netns   string    // pattern of the namespace's name (path.Match); empty: any
	Sandbox string    // pattern of the sandbox's id or name; empty: any
	Until   time.Time // the silence ends here
	Reason  string    // in the operator's words; may be empty
}

// Matches says whether the silence holds at a time for a namespace and a sandbox.
// A pattern matches no empty name: what has no name is not silenced by name.
func (s Silence) Matches(netns, sandbox string, now time.Time) bool {
	return now.Before(s.Until) && matches(s.Netns, netns) && matches(s.Sandbox, sandbox)
}

// matches says whether a name fits a pattern. The empty pattern fits all, and
// others fit no empty name, since that one is not known.
func matches(pattern, name string) bool {
	if pattern == "" {
		return true
	}
	ok, _ := path.Match(pattern, name) // the pattern was checked when it was read
	return ok && name != ""
}

func checkPattern(pattern string) error {
	if _, err := path.Match(pattern, ""); err != nil {
		return fmt.Errorf("%q: must be a name or a pattern with *, ? and [a-z]", pattern)
	}
	return nil
}

// silenceEntry is an item of the section silence as it is written.
type silenceEntry struct {
	Netns   string `yaml:"netns"`
	Sandbox string `yaml:"sandbox"`
	Until   string `yaml:"until"`
	For     string `yaml:"for"`
	Reason  string `yaml:"reason"`
}

func (d *document) silences() (out []Silence, errs []error) {
	for i, e := range d.sections.Silence {
		s, key, err := e.read(d.modified)
		if err == nil {
			out = append(out, s)
			continue
		}
		way := []any{"silence", i}
		if key != "" {
			way = append(way, key)
			err = fmt.Errorf("%s: %w", key, err)
		}
		errs = append(errs, d.problem("silence: "+err.Error(), way...))
	}
	return out, errs
}

// read checks an item. An error names the key that it is about, if it is about one.
//
// A duration counts from the last change of the file: counted from the reading of
// the file, each restart of the agent would begin the silence anew.
func (e silenceEntry) read(modified time.Time) (s Silence, key string, err error) {
	s = Silence{Netns: e.Netns, Sandbox: e.Sandbox, Reason: e.Reason}
	switch {
	case e.Netns == "" && e.Sandbox == "":
		return s, "", errors.New("say which netns or sandbox")
	case (e.Until == "") == (e.For == ""):
		return s, "", errors.New("say until (a time) or for (a duration), one of them")
	}
	if err := checkPattern(e.Netns); err != nil {
		return s, "netns", err
	}
	if err := checkPattern(e.Sandbox); err != nil {
		return s, "sandbox", err
	}
	if e.For != "" {
		length, err := time.ParseDuration(e.For)
		if err != nil || length <= 0 {
			return s, "for", fmt.Errorf("%q: must be a duration above 0 such as 2h30m", e.For)
		}
		s.Until = modified.Add(length)
		return s, "", nil
	}
	if s.Until, err = time.Parse(time.RFC3339, e.Until); err != nil {
		return s, "until", fmt.Errorf("%q: must be a time like 2026-01-31T18:00:00Z", e.Until)
	}
	return s, "", nil
}

// plainSilences are silences for a reader: each with the time at which it ends.
func plainSilences(all []Silence) []any {
	out := make([]any, 0, len(all))
	for _, s := range all {
		plain := map[string]any{"until": s.Until.UTC().Format(time.RFC3339)}
		for key, value := range map[string]string{"netns": s.Netns, "sandbox": s.Sandbox, "reason": s.Reason} {
			if value != "" {
				plain[key] = value
			}
		}
		out = append(out, plain)
	}
	return out
}
