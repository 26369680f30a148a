package identity

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

var written = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

func parsed(t testing.TB, text string) *Set {
	t.Helper()
	rules, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	s, err := Compile(rules, Options{Since: written})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestOperatorsRules(t *testing.T) {
	s := parsed(t, `
rules:
- name: acme
  match: {program: '^fcx$', arg: {--vm: '^(?P<id>[a-z0-9]+):(?P<kind>[a-z]+)$'}, netns: '^box-(?P<n>\d+)$'}
  set: {sandbox_id: '${id}', name: 'box ${n}', template: '${kind}', team: blue, slot: '${n}', labels: {pool: '${netns}', tier: gold}, expect: {tap: vm0, tap_address: 10.9.0.1/30, guest: 10.9.0.2}}
- name: acme/optional
  match: {program: '^fcx$', args: '--maybe(?: (?P<id>\w+))?'}
  set: {sandbox_id: '${id}'}
- name: acme/any
  match: {command: '^fcx$'}
  set: {role: vmm, launcher: acme}
- name: bridge
  match: {host: true, device: '^(?:br|docker)', kind: '^tap$'}
  set: {role: ignore}
- name: lab
  match: {netns: '^ns-9'}
  unless: {program: ., device: '^tap1$'}
  set: {role: ignore}
- name: own slots
  match: {netns: '^box-(?P<n>\d+)$'}
  set: {role: slot, slot: '${n}', launcher: acme}
- name: teams
  match: {launcher: '^(?:e2b|acme)$', netns: '^(?P<pool>[a-z]+)'}
  set: {team: 'team of ${pool}', labels: {pool: '${pool}', zone: a}}
- name: maintenance
  match: {sandbox: '^sick'}
  set: {silence: {for: 2h, reason: "disk\nswap"}}
- name: longer
  match: {sandbox: '^sicker'}
  set: {silence: {until: 2026-12-01T00:00:00Z}}
- name: all
  set: {labels: {zone: b, site: fra}}
`)
	for name, c := range map[string]struct {
		facts  Facts
		want   string
		rule   string
		labels map[string]string
	}{
		"all of a rule": {Facts{Netns: "box-4", Device: "vm0", Args: words("/opt/fcx --vm=a1:web")}, "acme vmm a1 name=box 4 template=web team=blue slot=4 expect=vm0", "acme",
			map[string]string{"pool": "box-4", "tier": "gold", "zone": "a", "site": "fra"}},
		"an empty id is none": {Facts{Netns: "x", Device: "vm0", Args: words("fcx --maybe")}, " unknown -", "", map[string]string{"zone": "b", "site": "fra"}},
		"an optional id":      {Facts{Netns: "x", Device: "vm0", Args: words("fcx --maybe i9")}, "acme/optional vmm i9", "acme/optional", map[string]string{"zone": "b", "site": "fra"}},
		"no id":               {Facts{Netns: "x", Device: "vm0", Command: "fcx", Args: words("fcx")}, "acme vmm - team=team of x", "acme/any", map[string]string{"pool": "x", "zone": "a", "site": "fra"}},
		"ignored":             {Facts{Host: true, Device: "br0p1", Kind: "tap"}, "bridge ignore -", "bridge", map[string]string{"zone": "b", "site": "fra"}},
		"another kind":        {Facts{Host: true, Device: "br0p1", Kind: "macvtap"}, " unknown -", "", map[string]string{"zone": "b", "site": "fra"}},
		"not in the host":     {Facts{Device: "br0p1", Kind: "tap"}, " unknown -", "", map[string]string{"zone": "b", "site": "fra"}},
		"unless":              {Facts{Netns: "ns-9", Device: "tap1"}, "e2b slot - team=team of ns slot=9 expect=tap0", "e2b/slot", map[string]string{"pool": "ns", "zone": "a", "site": "fra"}},
		"before a preset":     {Facts{Netns: "ns-9", Device: "tap0"}, "lab ignore -", "lab", map[string]string{"zone": "b", "site": "fra"}},
		"a slot":              {Facts{Netns: "box-77", Device: "vm0"}, "acme slot - team=team of box slot=77", "own slots", map[string]string{"pool": "box", "zone": "a", "site": "fra"}},
		"a record":            {Facts{Netns: "ns-3", Device: "tap0", Launcher: "tapwatch", SandboxID: "sick1", Name: "n\x1b", Template: "base", Args: words("firecracker --id other")}, `tapwatch vmm sick1 name=n\x1b template=base`, "record", map[string]string{"zone": "b", "site": "fra"}},
		"a record of a slot":  {Facts{Netns: "ns-3", Device: "tap0", Launcher: "tapwatch"}, "tapwatch slot -", "record", map[string]string{"zone": "b", "site": "fra"}},
	} {
		id := s.Identify(c.facts)
		if got := line(id); got != c.want || id.Rule != c.rule {
			t.Errorf("%s: %s by %q, want %s by %q", name, got, id.Rule, c.want, c.rule)
		}
		if !maps.Equal(id.Labels, c.labels) {
			t.Errorf("%s: labels %v, want %v", name, id.Labels, c.labels)
		}
	}
	if got := strings.Join(s.Labels(), " "); got != "pool site tier zone" {
		t.Errorf("labels of all rules: %s", got)
	}
}

func TestSilence(t *testing.T) {
	s := parsed(t, `
rules:
- name: hours
  match: {sandbox: '^sick'}
  set: {silence: {for: 2h, reason: "disk\nswap"}}
- name: longer
  match: {netns: '^ns-1$'}
  set: {silence: {until: 2026-12-01T00:00:00+01:00, reason: move}}
`)
	sick := Facts{Netns: "ns-2", Device: "tap0", Args: words("firecracker --api-sock /tmp/fc-sick-1.sock")}
	got := s.Identify(sick).Silence
	if want := (Silence{written.Add(2 * time.Hour), `disk\nswap`, "hours"}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if !got.Active(written) || got.Active(written.Add(2*time.Hour)) {
		t.Errorf("%+v is active at the wrong time", got)
	}
	sick.Netns = "ns-1"
	if got := s.Identify(sick).Silence; got.Rule != "longer" || !got.Until.Equal(time.Date(2026, 11, 30, 23, 0, 0, 0, time.UTC)) {
		t.Errorf("the longest of two: %+v", got)
	}
	if got := s.Identify(Facts{Netns: "ns-3", Device: "tap0"}).Silence; got.Active(written) {
		t.Errorf("nobody silenced it: %+v", got)
	}
}

func TestIgnored(t *testing.T) {
	s := parsed(t, `
rules:
- name: lab
  match: {netns: '^lab-'}
  set: {role: ignore}
- name: keep
  match: {device: '^keep'}
  set: {role: vmm}
- name: ports
  match: {device: '^(?:keep|port)\d+$'}
  set: {role: ignore}
- name: office
  match: {host: true, device: '^office'}
  set: {role: ignore}
- name: by its arguments
  match: {args: --lab}
  set: {role: ignore}
`)
	for name, c := range map[string]struct {
		netns, device, comm string
		want                bool
	}{
		"a namespace":            {"lab-1", "tap0", "", true},
		"a device":               {"", "port1", "", true},
		"an earlier rule's":      {"", "keep1", "", false},
		"in the host":            {"", "office0", "", true},
		"not in the host":        {"blue", "office0", "", false},
		"a holder":               {"", "tap0", "openvpn", true},
		"another holder":         {"", "tap0", "firecracker", false},
		"a VMM in the lab":       {"lab-1", "tap0", "firecracker", true},
		"nothing that we know":   {"", "tap0", "", false},
		"a slot":                 {"ns-1", "tap0", "", false},
		"arguments are not told": {"", "tap0", "x", false},
	} {
		if got := s.Ignored(Facts{Netns: c.netns, Host: c.netns == "", Device: c.device, Command: c.comm}); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestBadRules(t *testing.T) {
	const id = "set: {sandbox_id: '${id}'}"
	for name, c := range map[string]struct{ rule, want string }{
		"no name":                  {"match: {netns: x}, set: {role: vmm}", `rule 1: name: must not be empty`},
		"a bad expression":         {"name: a, match: {netns: '('}, set: {role: vmm}", "rule \"a\": match.netns: error parsing regexp: missing closing ): `(`"},
		"a lookahead":              {"name: a, unless: {arg: {--id: '(?!x)'}}, match: {netns: x}, set: {role: vmm}", "rule \"a\": unless.arg.--id: error parsing regexp: invalid or unsupported Perl syntax: `(?!`"},
		"no such group":            {"name: a, match: {netns: x}, " + id, `rule "a": set.sandbox_id: ${id}: match has no group of that name`},
		"an open group":            {"name: a, match: {netns: x}, set: {name: '${netns', role: vmm}", `rule "a": set.name: ${netns is not closed`},
		"a group twice":            {"name: a, match: {netns: '(?P<id>x)', device: '(?P<id>x)'}, " + id, `rule "a": match.device: group "id": the name is taken`},
		"a group called netns":     {"name: a, match: {device: '(?P<netns>x)'}, set: {role: vmm}", `rule "a": match.device: group "netns": the name is taken`},
		"a group in unless":        {"name: a, match: {netns: x}, unless: {netns: '(?P<id>x)'}, set: {role: vmm}", `rule "a": unless: group "id": what must not match gives no values`},
		"no condition":             {"name: a, set: {role: vmm}", `rule "a": match: at least one condition is needed`},
		"nothing set":              {"name: a, match: {netns: x}", `rule "a": set: nothing is set`},
		"a role of its own":        {"name: a, match: {netns: x}, set: {role: boss}", `rule "a": set.role: "boss": must be vmm, slot or ignore`},
		"a slot with a sandbox":    {"name: a, match: {netns: x}, set: {role: slot, sandbox_id: y}", `rule "a": set.sandbox_id: a tap of role slot has no sandbox`},
		"launcher decided":         {"name: a, match: {launcher: x}, set: {role: vmm}", `rule "a": match: launcher, sandbox and template are not decided yet where sandbox_id, role or launcher is set`},
		"an argument":              {"name: a, match: {arg: {id: x}}, set: {role: vmm}", `rule "a": match.arg: "id": a flag begins with a dash`},
		"a label's name":           {"name: a, set: {labels: {'a-b': x}}", `rule "a": set.labels: "a-b" is no name of a label`},
		"a label of Prometheus":    {"name: a, set: {labels: {__name__: x}}", `rule "a": set.labels: "__name__" is no name of a label`},
		"two mistakes":             {"name: a, match: {netns: x}, set: {name: '${netns', role: vmm, labels: {__name__: x}}", `rule "a": set.name: ${netns is not closed`},
		"a label that is taken":    {"name: a, set: {labels: {netns: x}}", `rule "a": set.labels: "netns" is a label already`},
		"five labels":              {"name: a, set: {labels: {a: x, b: x, c: x, d: x, e: x}}", `rule "a": set.labels: 5 labels, at most 4`},
		"for ever":                 {"name: a, set: {silence: {reason: x}}", `rule "a": set.silence: needs for or until`},
		"for and until":            {"name: a, set: {silence: {for: 1h, until: 2026-12-01T00:00:00Z}}", `rule "a": set.silence: either for or until, not both`},
		"before":                   {"name: a, set: {silence: {for: -1h}}", `rule "a": set.silence.for: must not be negative`},
		"no network":               {"name: a, match: {netns: x}, set: {role: slot, expect: {tap_address: 10.0.0.1}}", `rule "a": set.expect.tap_address: "10.0.0.1": must be an address and a length like 169.254.0.22/30`},
		"no address":               {"name: a, match: {netns: x}, set: {role: slot, expect: {guest: me}}", `rule "a": set.expect.guest: "me": must be an address like 169.254.0.21`},
		"a preset's name":          {"name: e2b/slot, match: {netns: x}, set: {role: slot}", `rule "e2b/slot": name: another rule has it`},
		"an unknown key":           {"name: a, macth: {netns: x}", `decode rules: line 1: field macth not found in type identity.Rule`},
		"an unknown condition":     {"name: a, match: {namespace: x, dev: y}", `decode rules: line 1: field namespace not found in type identity.Match; line 1: field dev not found in type identity.Match`},
		"a list for an expression": {"name: a, match: {netns: [x]}", "decode rules: line 1: cannot unmarshal !!seq into string"},
		"no YAML":                  {"name: '", "decode rules: found unexpected end of stream"},
	} {
		rules, err := Parse([]byte("rules: [{" + c.rule + "}]"))
		if err == nil {
			_, err = Compile(rules, Options{Since: written})
		}
		if err == nil || err.Error() != c.want {
			t.Errorf("%s: %v\n want %s", name, err, c.want)
		}
	}
}

func TestLabelsOfAllRulesAreBounded(t *testing.T) {
	var rules []Rule
	for _, names := range []string{"abcd", "cdef", "fgh"} {
		labels := map[string]string{}
		for _, n := range names {
			labels[string(n)] = "x"
		}
		rules = append(rules, Rule{Name: names, Set: Result{Labels: labels}})
	}
	if _, err := Compile(rules, Options{}); err != nil {
		t.Fatal(err)
	}
	rules = append(rules, Rule{Name: "ninth", Set: Result{Labels: map[string]string{"i": "x"}}})
	if _, err := Compile(rules, Options{}); err == nil || err.Error() != `rule "ninth": set.labels: more than 8 names in all rules` {
		t.Error(err)
	}
}

func TestForNeedsATime(t *testing.T) {
	rules := []Rule{{Name: "a", Set: Result{Silence: RuleSilence{For: time.Hour}}}}
	if _, err := Compile(rules, Options{}); err == nil || !strings.Contains(err.Error(), "use until") {
		t.Error(err)
	}
}

func TestFromNodes(t *testing.T) {
	var file struct {
		Rules []yaml.Node
	}
	const text = "listen: x\nrules:\n- &a\n  name: a\n  match: {netns: '^a'}\n  set: {role: slot}\n- {name: b, match: {host: true}, set: {role: ignore}}\n"
	if err := yaml.Unmarshal([]byte(text), &file); err != nil {
		t.Fatal(err)
	}
	rules, err := FromNodes(file.Rules)
	if err != nil || len(rules) != 2 || rules[0].Match.Netns != "^a" || rules[1].Match.Host == nil || !*rules[1].Match.Host {
		t.Fatalf("%+v, %v", rules, err)
	}
	if err := yaml.Unmarshal([]byte(strings.Replace(text, "host:", "hots:", 1)), &file); err != nil {
		t.Fatal(err)
	}
	if _, err := FromNodes(file.Rules); err == nil || err.Error() != "decode rule at line 7: field hots not found in type identity.Match" {
		t.Error(err)
	}
}

// TestExampleOfTheDocuments holds docs/identity.md to what is decoded.
func TestExampleOfTheDocuments(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "identity.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "```yaml\n")
	example, _, closed := strings.Cut(rest, "```")
	if !found || !closed {
		t.Fatal("docs/identity.md has no example")
	}
	s := parsed(t, example)
	for name, c := range map[string]struct {
		facts Facts
		want  string
	}{
		"acme":      {Facts{Netns: "vm-web-3", Device: "tap0", Args: words("/usr/bin/acme-vmm --name web-3 --image debian-13")}, "acme vmm web-3 template=debian-13"},
		"a path":    {Facts{Host: true, Device: "tap5", Args: words("firecracker --api-sock /run/sandboxes/s-17/fc.sock")}, "by-directory vmm s-17"},
		"the pool":  {Facts{Netns: "pool-8", Device: "tap0"}, "acme slot - slot=8 expect=tap0"},
		"a bridge":  {Facts{Host: true, Device: "vnet-office"}, "office ignore -"},
		"the teams": {Facts{Netns: "ns-1", Device: "tap0"}, "e2b slot - team=sandboxes slot=1 expect=tap0"},
	} {
		if got := line(s.Identify(c.facts)); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// TestPresetsInTheDocuments: each launcher with a preset has its line.
func TestPresetsInTheDocuments(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "identity.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range Presets() {
		if !strings.Contains(string(text), "| `"+r.Set.Launcher+"` |") {
			t.Errorf("docs/identity.md does not explain %s", r.Set.Launcher)
		}
	}
}
