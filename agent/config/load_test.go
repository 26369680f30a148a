package config

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

// bound are the variables of the set of flags that these tests load.
type bound struct {
	listen, proxy, url string
	every              time.Duration
	hops               bool
	most               int
	ignore             Ignores
	users              Users
}

func (b *bound) define(fs *pflag.FlagSet) {
	fs.StringVar(&b.listen, "listen", "here:1", "")
	fs.StringVar(&b.proxy, "proxy", "", "")
	fs.StringVar(&b.url, "send-to", "", "")
	fs.DurationVar(&b.every, "probe-every", 0, "")
	fs.BoolVar(&b.hops, "hops", true, "")
	fs.IntVar(&b.most, "most", 7, "")
	fs.Var(&b.ignore, "ignore", "")
	fs.Var(&b.users, "vmm-users", "")
	Check(fs, "proxy", AddrPort)
	Check(fs, "probe-every", NotNegative)
	MarkLive(fs, "ignore", "vmm-users")
}

func load(l Loader) (*bound, *Config, error) {
	b := new(bound)
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	b.define(fs)
	c, err := l.Load(fs)
	return b, c, err
}

// write makes a file of settings that only its owner may write.
func write(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "agent.yaml")
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

func environment(of map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) { value, ok := of[name]; return value, ok }
}

func setting(t *testing.T, c *Config, name string) Setting {
	t.Helper()
	for _, s := range c.Settings {
		if s.Name == name {
			return s
		}
	}
	t.Fatalf("there is no setting %s", name)
	return Setting{}
}

func TestPrecedence(t *testing.T) {
	file := write(t, "listen: file:1\n")
	env := environment(map[string]string{"TAPWATCH_LISTEN": "env:1"})
	given := map[string][]string{"listen": {"flag:1"}}
	for _, tt := range []struct {
		name   string
		loader Loader
		want   string
		source Source
		origin string
	}{
		{"nothing", Loader{}, "here:1", Default, ""},
		{"file", Loader{File: file}, "file:1", File, file + ":1"},
		{"environment over file", Loader{File: file, LookupEnv: env}, "env:1", Environment, "TAPWATCH_LISTEN"},
		{"flag over all", Loader{File: file, LookupEnv: env, Given: given}, "flag:1", Flag, "--listen"},
		{"file named by a variable", Loader{LookupEnv: environment(map[string]string{"TAPWATCH_CONFIG": file})}, "file:1", File, file + ":1"},
		{"file that is there by itself", Loader{Fallback: file}, "file:1", File, file + ":1"},
		{"no file by itself", Loader{Fallback: file + ".none"}, "here:1", Default, ""},
		{"empty variable", Loader{File: file, LookupEnv: environment(map[string]string{"TAPWATCH_LISTEN": ""})}, "file:1", File, file + ":1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, c, err := load(tt.loader)
			if err != nil {
				t.Fatal(err)
			}
			s := setting(t, c, "listen")
			if b.listen != tt.want || s.Value != tt.want || s.Source != tt.source || s.Origin != tt.origin {
				t.Errorf("%s, shown as %+v; want %s of %s %s", b.listen, s, tt.want, tt.source, tt.origin)
			}
		})
	}
}

func TestListsAreReplacedAsAWhole(t *testing.T) {
	file := write(t, "ignore:\n  - device: one\n  - {netns: two, holder: 'q*'}\n  - device=three\nvmm_users: [0, root]\n")
	b, c, err := load(Loader{File: file})
	if err != nil {
		t.Fatal(err)
	}
	want := Ignores{{Device: "one"}, {Netns: "two", Holder: "q*"}, {Device: "three"}}
	if !reflect.DeepEqual(b.ignore, want) || !reflect.DeepEqual(b.users.UIDs, []uint32{0, 0}) {
		t.Errorf("%v and %v", b.ignore, b.users)
	}
	if got := setting(t, c, "vmm_users").Value; !reflect.DeepEqual(got, []string{"0", "root"}) {
		t.Errorf("users are shown as %v", got)
	}
	b, _, err = load(Loader{File: file, LookupEnv: environment(map[string]string{"TAPWATCH_IGNORE": "device=a;device=b"})})
	if err != nil || b.ignore.String() != "device=a;device=b" {
		t.Errorf("from the environment: %v, %v", b.ignore, err)
	}
	b, _, err = load(Loader{File: file, Given: map[string][]string{"ignore": {"device=c"}}})
	if err != nil || b.ignore.String() != "device=c" {
		t.Errorf("from a flag: %v, %v", b.ignore, err)
	}
}

func TestGivenOn(t *testing.T) {
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	new(bound).define(fs)
	err := fs.Parse([]string{"--hops=false", "--ignore", "device=a", "--ignore", "device=b;netns=c", "--probe-every", "90s"})
	if err != nil {
		t.Fatal(err)
	}
	b, _, err := load(Loader{Given: GivenOn(fs), File: write(t, "hops: true\nignore: [device=z]\n")})
	if err != nil {
		t.Fatal(err)
	}
	if b.hops || b.every != 90*time.Second || b.ignore.String() != "device=a;device=b;netns=c" {
		t.Errorf("%+v", b)
	}
}

// A file with an error is refused today, not on the day on which the flag that
// overrides it goes.
func TestOverriddenErrorIsAnError(t *testing.T) {
	_, _, err := load(Loader{File: write(t, "most: many\n"), Given: map[string][]string{"most": {"3"}}})
	if err == nil || !strings.HasSuffix(err.Error(), `agent.yaml:1: most: "many": must be a whole number`) {
		t.Error(err)
	}
}

func TestBadVariable(t *testing.T) {
	_, _, err := load(Loader{LookupEnv: environment(map[string]string{"TAPWATCH_HOPS": "maybe"})})
	if err == nil || err.Error() != `TAPWATCH_HOPS="maybe": must be true or false` {
		t.Error(err)
	}
}

// Kubernetes sets NAME_SERVICE_PORT in every pod beside a Service called NAME.
func TestVariablesOfKubernetesAreNoSettings(t *testing.T) {
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	port := fs.Uint16("service-port", 1, "")
	l := Loader{LookupEnv: environment(map[string]string{"TAPWATCH_SERVICE_HOST": "10.0.0.1", "TAPWATCH_SERVICE_PORT": "10917"})}
	if _, err := l.Load(fs); err != nil || *port != 1 {
		t.Errorf("port %d, %v", *port, err)
	}
}

func TestSecretsAreMasked(t *testing.T) {
	_, c, err := load(Loader{File: write(t, "send_to: http://me:secret@host?token=secret&mode=secret\n")})
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	fmt.Fprintln(&out, c.Table())
	if err := c.WriteYAML(&out); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "secret") || !strings.Contains(out.String(), "me:xxxxx@host") {
		t.Error(out.String())
	}
}

// What WriteYAML writes is a file that sets the same.
func TestWrittenFileIsTheSame(t *testing.T) {
	name := write(t, `
listen: there:2
hops: false
probe_every: 1m30s
ignore: [{device: a, holder: "b*"}]
rules:
  - {name: mine, match: {netns: x}, set: {silence: {for: 2h}, role: vmm}}
silence: [{netns: ns-1, until: 2030-01-02T03:04:05+02:00, reason: "a: b"}]
e2b: {vrt_network_cidr: 10.1.2.3/8}
`)
	_, c, err := load(Loader{File: name})
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := c.WriteYAML(&out); err != nil {
		t.Fatal(err)
	}
	_, again, err := load(Loader{File: write(t, out.String())})
	if err != nil {
		t.Fatalf("%v in\n%s", err, &out)
	}
	if live, restart := Changed(c, again); len(live)+len(restart) > 0 {
		t.Errorf("%v %v differ in\n%s", live, restart, &out)
	}
	if !strings.Contains(out.String(), "{name: mine, match: {netns: x}, set: {silence: {for: 2h}, role: vmm}}") {
		t.Errorf("the rule is not as it was in\n%s", &out)
	}
}
