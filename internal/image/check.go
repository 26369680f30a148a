package image

import (
	"slices"
)

// Problem is what is wrong with a template: code names the page docs/checks/<code>.md.
type Problem struct {
	Code     string   `json:"code"`
	Cause    string   `json:"cause"`
	Evidence []string `json:"evidence"`
	Fix      string   `json:"fix"`
}

// Codes is every code that a Problem may have.
var Codes = []string{
	"image-unreadable", "init-missing", "init-not-executable", "init-shebang", "init-no-cgroup2", "envd-missing", "envd-not-runnable",
	"metadata-unreadable", "kernel-missing", "vmm-missing", "cache-metadata-missing",
}

// Result is what one check says: ok with Detail, a Problem, or unknown because of Detail.
type Result struct {
	Check   string   `json:"check"` // what was looked at
	State   State    `json:"state"`
	Detail  string   `json:"detail"`
	Problem *Problem `json:"problem,omitempty"`
}

// State is how a check ended.
type State string

// The states; a check that does not apply has no result.
const (
	OK      State = "ok"
	Broken  State = "broken"
	Unknown State = "unknown"
)

// Host says where this host keeps what templates name. An empty directory is not
// known.
type Host struct {
	Kernels string // {Kernels}/{version}[/{arch}]/vmlinux.bin
	VMMs    string // {VMMs}/{version}[/{arch}]/firecracker
	Cache   string // {Cache}/{buildID}/cache/{cacheID}/metadata.json; empty: there is none
}

// check looks at one thing of a template; nil says that it does not apply.
type check struct {
	what string
	run  func(*Template, Host) *Result
}

var checks = []check{
	{"image", checkImage},
	{"init", checkInit},
	{"cgroup2", checkCgroup},
	{"envd", checkEnvd},
	{"metadata", checkMetadata},
	{"kernel", checkKernel},
	{"vmm", checkVMM},
	{"cache", checkCache},
}

// Check runs all checks. Behind an image that cannot be read nothing is said of
// its files.
func Check(t *Template, h Host) []Result {
	var results []Result
	for _, c := range checks {
		if t.FSErr != nil && slices.Contains([]string{"init", "cgroup2", "envd"}, c.what) {
			continue
		}
		if r := c.run(t, h); r != nil {
			r.Check = c.what
			results = append(results, *r)
		}
	}
	return results
}

func fine(detail string) *Result    { return &Result{State: OK, Detail: detail} }
func unsure(because string) *Result { return &Result{State: Unknown, Detail: because} }

func wrong(code, cause, fix string, evidence ...string) *Result {
	return &Result{State: Broken, Detail: cause, Problem: &Problem{Code: code, Cause: cause, Evidence: evidence, Fix: fix}}
}
