package inspect

import (
	"reflect"
	"testing"
	"time"
)

const (
	hybrid = `24 30 0:22 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
25 24 0:23 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
26 24 0:24 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer
27 24 0:25 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
`
	unified   = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
	contained = `30 23 0:26 /docker/x\040y /sys/fs/cgroup ro - cgroup2 cgroup ro` + "\n"
)

func TestGroupsOf(t *testing.T) {
	for name, c := range map[string]struct {
		mounts, of string
		want       groups
	}{
		"version 2": {unified, "0::/sbx/i1\n", groups{unified: []string{"/sys/fs/cgroup/sbx/i1", "/sys/fs/cgroup/sbx"}}},
		"both": {hybrid, "7:cpu,cpuacct:/a/b\n6:freezer:/z\n1:name=systemd:/s\n0::/u\n", groups{
			unified: []string{"/sys/fs/cgroup/unified/u"}, freezer: []string{"/sys/fs/cgroup/freezer/z"}, cpu: []string{"/sys/fs/cgroup/cpu,cpuacct/a/b", "/sys/fs/cgroup/cpu,cpuacct/a"}}},
		"the root, which nothing freezes": {unified, "0::/\n", groups{}},
		"a container's own":               {contained, "0::/docker/x y/vm\n", groups{unified: []string{"/sys/fs/cgroup/vm"}}},
		"outside of the container":        {contained, "0::/docker/z\n", groups{}},
		"outside, by a cgroup namespace":  {unified, "0::/../z\n", groups{}},
		"a name with a colon":             {unified, "0::/a:b\n", groups{unified: []string{"/sys/fs/cgroup/a:b"}}},
		"nothing is mounted":              {"", "0::/a\n", groups{}},
		"nothing that makes sense":        {"x - y\n", "nonsense\n", groups{}},
	} {
		if got := groupsOf(members([]byte(c.of)), hierarchies([]byte(c.mounts))); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %+v, want %+v", name, got, c.want)
		}
	}
}

func TestThrottle(t *testing.T) {
	before := []quota{{"a/cpu.max", 0.5, 10, 5}, {"b/cpu.max", 2, 10, 0}, {"c/cpu.max", 1, 7, 7}}
	now := []quota{{"a/cpu.max", 0.5, 20, 14}, {"b/cpu.max", 2, 20, 1}, {"c/cpu.max", 1, 7, 7}, {"new/cpu.max", 1, 90, 90}}
	got := throttle(before, now, time.Second)
	if got == nil || got.File != "a/cpu.max" || got.Periods != 10 || got.Throttled != 9 || got.Share() != 0.9 {
		t.Errorf("the worst is %+v", got)
	}
	if got := throttle(nil, now, time.Second); got != nil {
		t.Errorf("one look told %+v", got)
	}
}

func TestKeyed(t *testing.T) {
	events := []byte("populated 1\nfrozen 1\n")
	if keyed(events, "frozen") != 1 || keyed(events, "froz") != 0 || keyed(nil, "frozen") != 0 {
		t.Error("a flat keyed file is misread")
	}
}

func TestParseSchedstat(t *testing.T) {
	if ran, lacked, runs := parseSchedstat([]byte("121587 818644 2\n")); ran != 121587 || lacked != 818644 || runs != 2 {
		t.Errorf("%v %v %d", ran, lacked, runs)
	}
	if _, _, runs := parseSchedstat([]byte("1 2")); runs != 0 {
		t.Error("half of it is taken")
	}
}
