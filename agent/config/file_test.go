package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Each file is bad, and each error of it is a line.
func TestBadFiles(t *testing.T) {
	for _, tt := range []struct {
		name, file string
		want       []string
	}{
		{"unknown keys", "lisetn: a\nprobe-every: 3s\n", []string{`1: unknown key "lisetn"`, `2: unknown key "probe-every": it is written probe_every`}},
		{"the file's own flag", "config: a\n", []string{`1: unknown key "config"`}},
		{"types", "hops: perhaps\nmost: [1]\nprobe_every: 3\nproxy: {a: b}\nignore: device=a\n", []string{
			`1: hops: "perhaps": must be true or false`, "2: most: must be a single value", `3: probe_every: "3": must be a duration such as 30s`,
			"4: proxy: must be a single value", "5: ignore: must be a list",
		}},
		{"values", "proxy: nowhere\nprobe_every: -1s\n", []string{
			`1: proxy: "nowhere": must be an address and port like 127.0.0.1:49983`, `2: probe_every: "-1s": must not be negative`,
		}},
		{"no value", "listen:\n", []string{`1: listen: has no value: take the line out, or write "" for the empty one`}},
		{"twice", "listen: a\nhops: true\nlisten: b\n", []string{`3: the key "listen" is there twice, first in line 1`}},
		{"twice, deeper", "rules:\n  - {a: 1, b: {c: 1, c: 2}}\n", []string{`2: the key "c" is there twice, first in line 2`}},
		{"syntax", "listen: [\nhops", []string{"2: did not find expected ',' or ']'"}},
		{"no mapping", "- a\n", []string{"1: must be a mapping (key: value)"}},
		{"two documents", "hops: true\n---\nhops: false\n", []string{"2: a second document begins here (---): there may be one"}},
		{"merge", "a: &a {hops: true}\n<<: *a\n", []string{"2: << is not taken here: write the keys out"}},
		{"section types", "rules: {a: 1}\nsilence: 3\ne2b: [1]\n", []string{
			"1: must be a list, not a mapping (key: value)", "2: must be a list, not a single value", "3: must be a mapping (key: value), not a list",
		}},
		{"section keys", "silence:\n  - {netns: a, fro: 3h}\ne2b: {host: 1}\nhops: no-bool\n", []string{
			`2: unknown key "fro"`, `3: unknown key "host"`, `4: hops: "no-bool": must be true or false`,
		}},
		{"rules", "rules:\n- {name: a, macth: {netns: x}}\n- name: b\n  match: {netns: [x]}\n- {name: c, match: {netns: x}, set: {role: vmm, silence: {for: ever}}}\n", []string{
			`2: unknown key "macth"`, "4: must be text, not a list", "5: must be a duration such as 2h30m, not a single value",
		}},
		{"rules that mean nothing", "rules:\n- {name: a, match: {netns: '('}, set: {role: vmm}}\n- {name: b, match: {netns: x}}\n- {match: {netns: x}, set: {role: vmm}}\n", []string{
			"2: rules: rule \"a\": match.netns: error parsing regexp: missing closing ): `(`", `3: rules: rule "b": set: nothing is set`, "4: rules: rule 1: name: must not be empty",
		}},
		{"rules of one name", "\nrules:\n- {name: a, match: {netns: x}, set: {role: vmm}}\n- {name: a, match: {netns: y}, set: {role: vmm}}\n", []string{
			`2: rules: rule "a": name: another rule has it`,
		}},
		{"ignore", "ignore:\n  - device: '[a'\n  - colour: red\n  - {device: a, netns: [b]}\n  - 'device=a,device=b'\n  - device: 'a,b'\n  - {}\n", []string{
			`2: ignore: "device=[a": device: "[a": must be a name or a pattern with *, ? and [a-z]`,
			`3: ignore: "colour=red": unknown key "colour": must be netns, device or holder`,
			"4: ignore: netns: must be a single value",
			`5: ignore: "device=a,device=b": the key "device" is there twice`,
			`6: ignore: device: "a,b": write ? for a comma or a semicolon`,
			`7: ignore: "": must be like device=tailscale0 or netns=ns-*,holder=qemu*`,
		}},
		{"users", "vmm_users: [0, no such one, 4294967296]\n", []string{
			`1: vmm_users: "no such one": no such user: must be a name or a uid`, `1: vmm_users: "4294967296": no such user: must be a name or a uid`,
		}},
		{"silence", "silence:\n  - for: 1h\n  - netns: a\n  - {netns: a, for: 1h, until: 2030-01-01T00:00:00Z}\n  - netns: a\n    until: soon\n  - {netns: '[', for: 1h}\n  - {sandbox: a, for: -1h}\n", []string{
			"2: silence: say which netns or sandbox", "3: silence: say until (a time) or for (a duration), one of them",
			"4: silence: say until (a time) or for (a duration), one of them", `6: silence: until: "soon": must be a time like 2026-01-31T18:00:00Z`,
			`7: silence: netns: "[": must be a name or a pattern with *, ? and [a-z]`, `8: silence: for: "-1h": must be a duration above 0 such as 2h30m`,
		}},
		{"e2b", "e2b:\n  host_network_cidr: 10.0.0.0\n  vrt_network_cidr: fd00::/8\n", []string{
			`2: e2b.host_network_cidr: "10.0.0.0": must be an IPv4 network like 10.11.0.0/16`,
			`3: e2b.vrt_network_cidr: "fd00::/8": must be an IPv4 network like 10.11.0.0/16`,
		}},
		{"what a terminal would obey", `"a\e[31mb": 1`, []string{`1: unknown key "a\x1b[31mb"`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			name := write(t, tt.file)
			_, _, err := load(Loader{File: name})
			if err == nil {
				t.Fatal("it is taken")
			}
			var got []string
			for _, line := range Lines(err) {
				got = append(got, strings.TrimPrefix(line.Error(), name+":"))
			}
			if strings.Join(got, "\n") != strings.Join(tt.want, "\n") {
				t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
		})
	}
}

func TestFilesThatSayNothing(t *testing.T) {
	for _, text := range []string{"", "# only this\n", "---\n", "null\n", "{}\n"} {
		b, c, err := load(Loader{File: write(t, text)})
		if err != nil || b.listen != "here:1" || c.File == "" {
			t.Errorf("%q: %+v, %v", text, b, err)
		}
	}
}

func TestFilesThatAreRefused(t *testing.T) {
	dir := t.TempDir()
	open := write(t, "hops: true\n")
	if err := os.Chmod(open, 0o646); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(open, link); err != nil {
		t.Fatal(err)
	}
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		open:                       "everybody may write it (mode 0646): run chmod o-w",
		link:                       "everybody may write it (mode 0646): run chmod o-w",
		fifo:                       "must be a regular file",
		dir:                        "must be a regular file",
		filepath.Join(dir, "none"): "there is no such file",
		write(t, string(make([]byte, maxFile+1))): "longer than 1048576 bytes",
	} {
		if _, _, err := load(Loader{File: name}); err == nil || err.Error() != name+": "+want {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
}

// A file is the operator's, but one that was cut off or mixed up must still get
// lines that say so.
func FuzzLoad(f *testing.F) {
	f.Add("hops: true\nignore: [{device: a}]\nsilence: [{netns: a, for: 1h}]\n")
	f.Add("a: &a [*a]\n")
	f.Add("? {a: b}\n: c\nrules: [1, {2: 3}]\ne2b: ~\n")
	name := filepath.Join(f.TempDir(), "agent.yaml")
	f.Fuzz(func(t *testing.T, text string) {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, c, err := load(Loader{File: name})
		if err == nil {
			if err := c.WriteYAML(new(strings.Builder)); err != nil {
				t.Fatal(err)
			}
			return
		}
		for _, line := range Lines(err) {
			if strings.ContainsAny(line.Error(), "\n\x1b") || !strings.HasPrefix(line.Error(), name) {
				t.Errorf("%q", line)
			}
		}
	})
}
