package identity

import "time"

// Rule is one line of reasoning: where all conditions hold, Set says who it is.
// docs/identity.md explains how to write one.
type Rule struct {
	Name   string `yaml:"name"`
	Match  Match  `yaml:"match"`
	Unless Match  `yaml:"unless"` // the rule does not hold where any of these holds
	Set    Result `yaml:"set"`
}

// decorates reports whether the rule only adds to an identity that another rule
// gives.
func (r *Rule) decorates() bool {
	return r.Set.SandboxID == "" && r.Set.Role == "" && r.Set.Launcher == ""
}

// Match holds conditions. Strings are regular expressions (Go's RE2) that may
// match anywhere in the fact unless they are anchored. An empty one is no
// condition. Named groups, (?P<id>...), are used in Result as ${id}.
type Match struct {
	Host    *bool  `yaml:"host"` // whether the namespace is the agent's own
	Netns   string `yaml:"netns"`
	Device  string `yaml:"device"`
	Kind    string `yaml:"kind"`
	Command string `yaml:"command"`
	// Program is held against the base name of the executable and then against that
	// of the first argument. The command is taken where neither is known.
	Program string            `yaml:"program"`
	Exe     string            `yaml:"exe"`
	Root    string            `yaml:"root"`
	Cwd     string            `yaml:"cwd"`
	Cgroup  string            `yaml:"cgroup"`
	Socket  string            `yaml:"socket"` // path of the API, as the process sees it
	Arg     map[string]string `yaml:"arg"`    // by flag: the value in `--flag value` or `--flag=value`
	Args    string            `yaml:"args"`   // all arguments, joined by spaces

	// What other rules or a record have said. Only a rule that decorates may ask.
	Launcher string `yaml:"launcher"`
	Sandbox  string `yaml:"sandbox"`
	Template string `yaml:"template"`
}

// Result says who it is. Strings may hold ${group}, for a named group of Match,
// and ${netns}, ${device}, ${command} for these facts. A rule whose sandbox_id
// comes out empty does not hold.
//
// The first rule that sets sandbox_id, role or launcher, and holds, gives the
// identity. Rules that set none of them are all applied after it, in their order;
// what is set already stays.
type Result struct {
	SandboxID string `yaml:"sandbox_id"`
	Name      string `yaml:"name"`
	Template  string `yaml:"template"`
	Team      string `yaml:"team"`
	Launcher  string `yaml:"launcher"` // empty: the rule's name
	Slot      string `yaml:"slot"`
	Role      Role   `yaml:"role"` // empty: vmm where sandbox_id or launcher is set

	Labels  map[string]string `yaml:"labels"` // at most MaxRuleLabels
	Silence RuleSilence       `yaml:"silence"`
	Expect  RuleExpect        `yaml:"expect"`
}

// RuleSilence says for how long nobody wants to hear of what matches.
type RuleSilence struct {
	Until  time.Time     `yaml:"until"` // RFC 3339
	For    time.Duration `yaml:"for"`   // since the file was written (Options.Since)
	Reason string        `yaml:"reason"`
}

// RuleExpect is what the launcher's plan says, see Expect.
type RuleExpect struct {
	Tap        string `yaml:"tap"`
	TapAddress string `yaml:"tap_address"` // 169.254.0.22/30
	Guest      string `yaml:"guest"`       // 169.254.0.21
}
