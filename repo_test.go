// Package tapwatch holds no code, only the rules of the repository as tests.
package tapwatch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// rule says which packages of this module a package may import outside its
// tests, and why no others. "x/..." is every package below x.
type rule struct {
	pkg     string
	imports []string
	why     string
}

var importRules = []rule{
	{"bpf", nil, "what runs in the kernel is generated and stands alone"},
	{"internal/nlsafe", nil, "reads netlink, knows nothing of its use"},
	{"internal/netns", []string{"internal/nlsafe"}, "everything that enters a namespace builds on it"},
	{"internal/ktime", nil, "reads clocks"},
	{"internal/proc", []string{"internal/ktime"}, "reads /proc of any process, whoever asks"},
	{"internal/caps", nil, "reads and gives up capabilities, knows nothing of their use"},
	{"internal/e2b", nil, "E2B's names and numbers: values only"},
	{"internal/registry", []string{"internal/netns", "internal/proc"}, "the contract between launcher and agent takes neither side"},
	{"internal/ext4", nil, "reads an image, knows nothing of what it is for"},
	{"internal/image", []string{"internal/ext4"}, "looks into templates for whoever asks, launcher or agent"},
	{"internal/clean", nil, "cleans strings, whosever they are"},
	{"internal/catalog", nil, "reads a database, finds no files"},
	{"internal/pairing", nil, "two cookies, whosever they are: the contract between proxies and agent takes neither side"},
	{"internal/profile", nil, "a profiler must not see what it profiles"},
	{"internal/nettest", []string{"internal/netns"}, "helps the tests of all, so it builds on none of them"},

	{"agent/path", []string{"internal/e2b", "internal/netns", "internal/registry"}, "facts are values: nothing here reads the kernel"},
	{"agent/identity", []string{"internal/clean"}, "facts in, identity out, no I/O"},
	{"agent/events", []string{"agent/path"}, "hands on what it is told"},
	{"agent/draw", []string{"agent/path", "internal/e2b", "internal/registry"}, "writes what is known as text"},
	{"agent/diagnose", []string{"agent/path", "internal/e2b", "internal/registry"}, "facts in, findings out, no I/O"},
	{"agent/link", []string{"internal/netns", "internal/nlsafe"}, "the kernel's side of links, whosever they are"},
	{"agent/discover", []string{"agent/identity", "agent/path", "internal/e2b", "internal/netns", "internal/nlsafe", "internal/proc", "internal/registry"}, "learns whose a namespace is from outside: it must serve hosts that we did not launch"},
	{"agent/flow", []string{"bpf", "agent/path", "internal/e2b", "internal/ktime", "internal/netns"}, "measures requests, knows no sandbox"},
	{"agent/probe", []string{"bpf", "internal/caps", "internal/e2b", "internal/ktime", "internal/netns", "internal/nlsafe"}, "attaches hooks, interprets nothing"},
	{"agent/holders", []string{"bpf", "internal/netns", "internal/proc"}, "lists who holds taps, whosever they are"},
	{"agent/exits", []string{"bpf", "internal/ktime", "internal/proc"}, "tells of processes, whosever they are"},
	{"agent/notices", []string{"internal/netns", "internal/nlsafe"}, "hears that something changed, reads nothing"},
	{"agent/filter", []string{"agent/path", "internal/netns", "internal/nlsafe"}, "judges what rules do with packets, whichever they are"},
	{"agent/inspect", []string{"agent/filter", "agent/path", "agent/sockets", "internal/caps", "internal/clean", "internal/netns", "internal/nlsafe", "internal/proc"}, "looks closely at what no event tells of"},
	{"agent/topology", []string{"agent/filter", "agent/path", "internal/netns", "internal/nlsafe", "internal/registry"}, "reads how requests reach a guest; knows no launcher"},
	{"agent/sockets", []string{"bpf", "internal/netns", "internal/nlsafe"}, "asks the kernel who listens, and is told who begins to"},
	{"agent/firecracker", []string{"agent/path"}, "asks a VMM, knows no slot"},
	{"agent/prober", []string{"agent/path", "internal/e2b", "internal/netns"}, "asks envd, knows no slot"},
	{"agent/trace", []string{"agent/path", "internal/netns"}, "listens at devices and compares; knows no slot"},
	{"agent/capture", []string{"agent/path", "internal/netns"}, "records at devices for whoever asks; knows no slot"},
	{"agent/recorder", []string{"agent/path"}, "keeps what it is told"},
	{"agent/metrics", []string{"agent/flow", "agent/link", "agent/path", "internal/netns", "internal/registry"}, "exports what is known and finds nothing out"},
	{"agent/config", []string{"agent/identity", "internal/e2b"}, "reads what the operator wrote, knows no host"},
	{"agent/top", []string{"agent/draw", "agent/httpapi", "agent/path", "internal/clean"}, "a client of the agent, like any other"},
	{"agent/mcp", []string{"agent/httpapi", "agent/path", "agent/top", "internal/clean"}, "a client of the agent, like any other"},
	{"agent/httpapi", []string{"agent/draw", "agent/events", "agent/metrics", "agent/path", "docs"}, "serves what is known and finds nothing out"},
	{"agent/slots", []string{"agent/path", "internal/clean", "internal/netns", "internal/registry"}, "holds all state and asks the kernel nothing: of these it uses values only"},
	{"agent", []string{
		"bpf", // for the kernel's types, which its parts share while it starts them
		"agent/config", "agent/diagnose", "agent/discover", "agent/events", "agent/exits", "agent/filter", "agent/firecracker", "agent/flow", "agent/holders", "agent/httpapi", "agent/identity", "agent/inspect", "agent/link", "agent/metrics", "agent/notices", "agent/path", "agent/probe", "agent/prober", "agent/recorder", "agent/slots", "agent/sockets", "agent/topology", "agent/trace",
		"internal/caps", "internal/clean", "internal/e2b", "internal/image", "internal/ktime", "internal/netns", "internal/nlsafe", "internal/pairing", "internal/proc", "internal/registry",
	}, "builds and starts its parts; never internal/sandbox: it must serve hosts whose sandboxes it did not launch"},

	{"internal/sandbox/network", []string{"internal/caps", "internal/e2b", "internal/netns", "internal/nlsafe", "internal/proc", "internal/registry"}, "slots, not sandboxes"},
	{"internal/sandbox/vmm", []string{"internal/netns", "internal/proc"}, "what drivers share"},
	{"internal/sandbox/vmm/qemu", []string{"internal/netns", "internal/sandbox/vmm"}, "a driver starts what it is told to"},
	{"internal/sandbox/template", nil, "makes and reads files"},
	{"internal/sandbox/template/templatetest", []string{"internal/nettest", "internal/sandbox/template"}, "for tests only"},
	{"internal/sandbox/stream", []string{"internal/netns"}, "moves bytes between sockets, whatever they are for"},
	{"internal/sandbox/relay", []string{"internal/netns", "internal/sandbox/stream"}, "says which address leads where"},
	{"internal/sandbox/proxy", []string{"internal/e2b", "internal/netns", "internal/registry", "internal/sandbox/conns", "internal/sandbox/stream"}, "is told where a sandbox is"},
	{"internal/sandbox/conns", []string{"internal/sandbox/stream"}, "tells of connections what the data path knows"},
	{"internal/sandbox/metrics", []string{"internal/sandbox/stream"}, "exports what the data path counted"},
	{"internal/sandbox/envd", []string{"internal/sandbox/envd/proto/filesystem", "internal/sandbox/envd/proto/process"}, "a client of any envd, not of ours"},
	{"internal/sandbox/envd/guest", []string{"internal/e2b", "internal/sandbox/envd/proto/filesystem", "internal/sandbox/envd/proto/process"}, "runs in the guest, where nothing else of ours is"},
	{"internal/sandbox/envd/proto", nil, "the protocol"},
	{"internal/sandbox/envd/proto/filesystem", nil, "generated"},
	{"internal/sandbox/envd/proto/process", nil, "generated"},
	{"internal/sandbox", []string{
		"internal/e2b", "internal/netns", "internal/pairing", "internal/proc", "internal/registry", "internal/sandbox/conns", "internal/sandbox/envd", "internal/sandbox/envd/guest", "internal/sandbox/metrics",
		"internal/sandbox/network", "internal/sandbox/proxy", "internal/sandbox/relay", "internal/sandbox/stream", "internal/sandbox/template",
		"internal/sandbox/vmm", "internal/sandbox/vmm/qemu",
	}, "launches with its parts; never agent, which may run in another process or not at all"},
	{"internal/sandbox/api", []string{
		"internal/e2b", "internal/registry", "internal/sandbox", "internal/sandbox/conns", "internal/sandbox/envd",
		"internal/sandbox/template",
	}, "speaks E2B's protocol for the launcher"},
	{"internal/sandbox/server", []string{"internal/e2b", "internal/sandbox", "internal/sandbox/api", "internal/sandbox/metrics", "internal/sandbox/proxy", "internal/sandbox/stream"}, "puts the launcher's listeners together"},
	{"internal/proctest", nil, "runs programs for tests, whichever they are"},
	{"internal/flowtest", []string{"internal/e2b", "internal/netns", "internal/nettest", "internal/proctest"}, "makes paths for tests without the launcher, so that either side's tests may use it"},
	{"internal/demo", []string{"agent/draw", "agent/path", "internal/e2b", "internal/sandbox", "internal/sandbox/envd", "internal/sandbox/template"}, "uses the launcher as a client would and reads what the agent says of it"},

	{"internal/drill", []string{
		"agent/path", "agent/trace", "internal/e2b", "internal/netns", "internal/registry", "internal/sandbox", "internal/sandbox/envd", "internal/sandbox/network", "internal/sandbox/proxy",
		"internal/sandbox/stream", "internal/sandbox/template", "internal/sandbox/vmm",
	}, "breaks what the launcher made and reads what the agent says of it"},

	{"docs", nil, "documents"},
	{"dashboards", nil, "data for other programs"},
	{"dashboards/generate", []string{"dashboards"}, "writes the files"},
	{"cmd/envd", []string{"internal/e2b", "internal/sandbox/envd/guest"}, "runs in the guest, where nothing else of ours is"},
	{"cmd/tapwatch", []string{"agent", "agent/...", "dashboards", "internal/..."}, "turns flags into configuration of both sides"},
}

func (r rule) allows(pkg string) bool {
	return slices.ContainsFunc(r.imports, func(allowed string) bool {
		dir, all := strings.CutSuffix(allowed, "...")
		return allowed == pkg || all && strings.HasPrefix(pkg, dir)
	})
}

func TestImports(t *testing.T) {
	used := map[string]bool{}
	for _, f := range goFiles(t) {
		pkg := path.Dir(f.path)
		if f.test || f.nested || pkg == "." {
			continue
		}
		i := slices.IndexFunc(importRules, func(r rule) bool { return r.pkg == pkg })
		if i < 0 {
			t.Errorf("%s has no rule: say in repo_test.go what it may import, and why", pkg)
			continue
		}
		used[pkg] = true
		for _, name := range f.imports {
			ours, ok := strings.CutPrefix(name, "tapwatch/")
			if ok && !importRules[i].allows(ours) {
				t.Errorf("%s imports %s: %s", f.path, ours, importRules[i].why)
			}
		}
	}
	for _, r := range importRules {
		if !used[r.pkg] {
			t.Errorf("the rule for %s is for no package", r.pkg)
		}
	}
}

// TestAgentAndSandboxAreApart holds tests to it as well: what tests both is in
// cmd or test.
func TestAgentAndSandboxAreApart(t *testing.T) {
	for _, f := range goFiles(t) {
		for _, name := range f.imports {
			if strings.HasPrefix(f.path, "agent/") && strings.HasPrefix(name, "tapwatch/internal/sandbox") ||
				strings.HasPrefix(f.path, "internal/sandbox/") && strings.HasPrefix(name, "tapwatch/agent") {
				t.Errorf("%s imports %s", f.path, name)
			}
		}
	}
}

// goFile is one Go file of the repository.
type goFile struct {
	path      string // relative to the root
	ast       *ast.File
	imports   []string
	source    string
	lines     int
	test      bool
	generated bool
	nested    bool // in a module of its own
}

func goFiles(t *testing.T) []goFile {
	t.Helper()
	var out []goFile
	for _, name := range files(t) {
		if path.Ext(name) != ".go" {
			continue
		}
		source, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		set := token.NewFileSet()
		parsed, err := parser.ParseFile(set, name, source, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		f := goFile{
			path: name, ast: parsed, source: string(source), lines: strings.Count(string(source), "\n"),
			test: strings.HasSuffix(name, "_test.go"), generated: ast.IsGenerated(parsed), nested: inNestedModule(name),
		}
		for _, i := range parsed.Imports {
			imported, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			f.imports = append(f.imports, imported)
		}
		out = append(out, f)
	}
	return out
}

func inNestedModule(name string) bool {
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return true
		}
	}
	return false
}

// files is every file of the repository but what was built or fetched.
func files(t *testing.T) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() && slices.Contains([]string{".git", ".cache", "bin", "node_modules"}, d.Name()) {
			return fs.SkipDir
		}
		if err == nil && d.Type().IsRegular() && name != ".git" { // a file in a worktree
			out = append(out, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
