package agent

import "testing"

func TestPropagates(t *testing.T) {
	const (
		slave   = "22 21 0:5 / / rw master:1 - ext4 /dev/vda rw\n"
		shared  = "22 21 0:5 / / rw shared:1 - ext4 /dev/vda rw\n"
		private = "22 21 0:5 / / rw - ext4 /dev/vda rw\n"
		run     = "23 22 0:6 / /run rw shared:7 master:2 - tmpfs tmpfs rw\n"
		tmpfs   = "24 22 0:7 / /run rw - tmpfs shared:9 rw\n"
		netns   = "25 22 0:6 /netns /run/netns rw master:3 - tmpfs tmpfs rw\n"
		other   = "26 22 0:8 / /run/netnsX rw shared:4 - tmpfs tmpfs rw\n"
		below   = "27 25 0:4 net:[4026546179] /run/netns/a rw shared:5 - nsfs nsfs rw\n"
	)
	for name, c := range map[string]struct {
		mountinfo string
		want      bool
	}{
		"slave":              {slave, true},
		"shared":             {shared, true},
		"private":            {private, false},
		"run is shared":      {private + run, true},
		"run is private":     {shared + tmpfs, false},
		"covered by another": {private + run + tmpfs, false},
		"netns is mounted":   {private + tmpfs + netns, true},
		"others are not it":  {private + other + below, false},
		"nothing":            {"", false},
	} {
		if got := propagates(c.mountinfo, "/run/netns"); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
