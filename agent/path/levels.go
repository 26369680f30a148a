package path

import "strings"

// Levels is what an operator wants to hear less of, by the codes of checks. The zero
// value changes nothing.
type Levels struct {
	Off  []string `json:"off"`  // these do not run
	Warn []string `json:"warn"` // what these find is a warning at most
	Info []string `json:"info"` // what these find is info at most
}

// Level is what some checks are demoted to.
type Level struct {
	Key   string   // as settings call it
	Most  Severity // that their findings have; empty: they do not run
	Codes []string
}

// Lists returns all levels, also those without a check.
func (l Levels) Lists() []Level {
	return []Level{{"off", "", l.Off}, {"warn", Warning, l.Warn}, {"info", Info, l.Info}}
}

// String says what is switched off or demoted; empty: nothing.
func (l Levels) String() string {
	var parts []string
	for _, level := range l.Lists() {
		if len(level.Codes) == 0 {
			continue
		}
		as := "switched off"
		if level.Most != "" {
			as = string(level.Most) + " at most"
		}
		parts = append(parts, as+": "+strings.Join(level.Codes, ", "))
	}
	return strings.Join(parts, "; ")
}
