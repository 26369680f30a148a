package image

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// files are an image's, by name: a content that begins with "-> " is a link's.
type files map[string]string

// sound is as little as a guest can start from.
func sound(changes files) files {
	f := files{
		"bin/sh":       "\x7fELF, let us say",
		"sbin/init":    "#!/bin/sh\nmount -t cgroup2 cgroup2 /sys/fs/cgroup\nexec /usr/bin/envd\n",
		"usr/bin/envd": program(0x3e),
		"etc/passwd":   "root:x:0:0::/:/bin/sh\n",
	}
	for name, content := range changes {
		if f[name] = content; content == "" {
			delete(f, name)
		}
	}
	return f
}

// program is the head of a static ELF program for a machine.
func program(machine uint16) string {
	b := make([]byte, 64)
	copy(b, "\x7fELF\x02\x01\x01")
	le := binary.LittleEndian
	le.PutUint16(b[16:], 2) // ET_EXEC
	le.PutUint16(b[18:], machine)
	le.PutUint32(b[20:], 1)
	le.PutUint16(b[52:], 64)
	return string(b)
}

// makeTemplate writes the directory of a template with these files in its image.
func makeTemplate(t testing.TB, f files) string {
	t.Helper()
	dir, root := filepath.Join(t.TempDir(), "templates", "b1"), t.TempDir()
	for name, content := range f {
		path := filepath.Join(root, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		if target, ok := strings.CutPrefix(content, "-> "); ok {
			must(t, os.Symlink(target, path))
			continue
		}
		mode := os.FileMode(0o755)
		if strings.HasPrefix(name, "etc/") {
			mode = 0o644
		}
		if rest, ok := strings.CutPrefix(content, "0644 "); ok {
			content, mode = rest, 0o644
		}
		must(t, os.WriteFile(path, []byte(content), mode))
		must(t, os.Chmod(path, mode))
	}
	must(t, os.MkdirAll(dir, 0o755))
	mkfs, err := exec.LookPath("mkfs.ext4")
	if err != nil {
		mkfs = "/usr/sbin/mkfs.ext4" // not in an ordinary user's PATH
	}
	if out, err := exec.CommandContext(t.Context(), mkfs, "-q", "-F", "-d", root, filepath.Join(dir, "rootfs.ext4"), "4M").CombinedOutput(); err != nil {
		t.Fatalf("mkfs.ext4: %v: %s", err, out)
	}
	must(t, os.WriteFile(filepath.Join(dir, "metadata.json"),
		[]byte(`{"version":2,"template":{"build_id":"b1","kernel_version":"vmlinux-6.1","firecracker_version":"v1.12"}}`), 0o644))
	return dir
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func openTemplate(t *testing.T, dir string) *Template {
	t.Helper()
	tpl, err := Open(dir)
	must(t, err)
	t.Cleanup(func() { tpl.Close() })
	return tpl
}

// broken is the codes of all problems, by commas, with unknown results as "?what".
func broken(results []Result) string {
	var codes []string
	for _, r := range results {
		switch r.State {
		case Broken:
			codes = append(codes, r.Problem.Code)
		case Unknown:
			codes = append(codes, "?"+r.Check)
		}
	}
	return strings.Join(codes, ",")
}

func TestImageChecks(t *testing.T) {
	arch = "amd64"
	tests := []struct {
		name   string
		change files
		want   string
	}{
		{"sound", nil, ""},
		{"merged usr", files{"bin/sh": "", "sbin/init": "", "usr/bin/sh": "x", "bin": "-> usr/bin", "sbin": "-> usr/sbin", "usr/sbin/init": "#!/bin/sh\nmount -t cgroup2 none /sys/fs/cgroup\n"}, ""},
		{"systemd", files{"sbin/init": "-> /lib/systemd/systemd", "lib/systemd/systemd": program(0x3e)}, ""},
		{"corrupted shebang", files{"sbin/init": "#\\!/bin/sh\nmount -t cgroup2 none /sys/fs/cgroup\n"}, "init-shebang"},
		{"no shebang", files{"sbin/init": "mount -t cgroup2 none /sys/fs/cgroup\n"}, "init-shebang"},
		{"carriage return", files{"sbin/init": "#!/bin/sh\r\nmount -t cgroup2 none /sys/fs/cgroup\n"}, "init-shebang"},
		{"byte order mark", files{"sbin/init": "\uFEFF#!/bin/sh\nmount -t cgroup2 none /sys/fs/cgroup\n"}, "init-shebang"},
		{"no such interpreter", files{"sbin/init": "#!/bin/zsh\nmount -t cgroup2 none /sys/fs/cgroup\n"}, "init-shebang"},
		{"relative interpreter", files{"sbin/init": "#!sh\nmount -t cgroup2 none /sys/fs/cgroup\n"}, "init-shebang"},
		{"empty init", files{"sbin/init": " "}, "init-shebang,init-no-cgroup2"},
		{"no init", files{"sbin/init": ""}, "init-missing"},
		{"init leads nowhere", files{"sbin/init": "-> ../lib/init"}, "init-missing"},
		{"init not executable", files{"sbin/init": "0644 #!/bin/sh\nmount -t cgroup2 none /sys/fs/cgroup\n"}, "init-not-executable"},
		{"no cgroup2", files{"sbin/init": "#!/bin/sh\n# mount -t cgroup2 none /sys/fs/cgroup\nexec /usr/bin/envd\n"}, "init-no-cgroup2"},
		{"cgroup2 in a script it calls", files{"sbin/init": "#!/bin/sh\nexec /etc/init.d/rcS\n", "etc/init.d/rcS": "#!/bin/sh\nmount -t cgroup2 none /sys/fs/cgroup\n"}, ""},
		{"cgroup2 in fstab", files{"sbin/init": "#!/bin/sh\nmount -a\n", "etc/fstab": "none /sys/fs/cgroup cgroup2 defaults 0 0\n"}, ""},
		{"a program as init", files{"sbin/init": program(0x3e)}, "?cgroup2"},
		{"no envd", files{"usr/bin/envd": ""}, "envd-missing"},
		{"envd elsewhere", files{"usr/bin/envd": "", "usr/local/bin/envd": program(0x3e)}, ""},
		{"envd of another machine", files{"usr/bin/envd": program(0xb7)}, "envd-not-runnable"},
		{"envd is no program", files{"usr/bin/envd": "envd"}, "envd-not-runnable"},
		{"envd not executable", files{"usr/bin/envd": "0644 " + program(0x3e)}, "envd-not-runnable"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := makeTemplate(t, sound(tt.change))
			tpl := openTemplate(t, filepath.Join(dir, "rootfs.ext4"))
			results := Check(tpl, Host{})
			if got := broken(results); got != tt.want {
				t.Errorf("found %q, want %q: %+v", got, tt.want, results)
			}
		})
	}
}

func TestHostChecks(t *testing.T) {
	arch = "amd64"
	kernels, vmms := t.TempDir(), t.TempDir()
	put := func(parts ...string) string {
		path := filepath.Join(parts...)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, []byte("x"), 0o755))
		return path
	}
	put(kernels, "vmlinux-6.1", "amd64", "vmlinux.bin")
	put(vmms, "v1.12", "firecracker")
	whole := Host{Kernels: kernels, VMMs: vmms, Cache: t.TempDir()}
	meta := `{"kernelVersion":"vmlinux-6.1","firecrackerVersion":"v1.12","buildID":"b1","templateID":"t1"}` // the older form
	tests := []struct {
		name string
		host Host
		do   func(dir string)
		want string
	}{
		{"sound", whole, func(string) {}, ""},
		{"older metadata", whole, func(dir string) { must(t, os.WriteFile(filepath.Join(dir, "metadata.json"), []byte(meta), 0o644)) }, ""},
		{"nobody said where", Host{}, func(string) {}, "?kernel,?vmm"},
		{"neither here", Host{Kernels: vmms, VMMs: kernels}, func(string) {}, "kernel-missing,vmm-missing"},
		{"no metadata", whole, func(dir string) { must(t, os.Remove(filepath.Join(dir, "metadata.json"))) }, "metadata-unreadable"},
		{"metadata cut short", whole, func(dir string) { must(t, os.Truncate(filepath.Join(dir, "metadata.json"), 20)) }, "metadata-unreadable"},
		{"hostile version", whole, func(dir string) {
			must(t, os.WriteFile(filepath.Join(dir, "metadata.json"), []byte(`{"template":{"build_id":"b1","kernel_version":"../../etc"}}`), 0o644))
		}, "kernel-missing"},
		{"no image", whole, func(dir string) { must(t, os.Remove(filepath.Join(dir, "rootfs.ext4"))) }, "image-unreadable"},
		{"image cut short", whole, func(dir string) { must(t, os.Truncate(filepath.Join(dir, "rootfs.ext4"), 1<<20)) }, "image-unreadable"},
		{"image empty", whole, func(dir string) { must(t, os.Truncate(filepath.Join(dir, "rootfs.ext4"), 0)) }, "image-unreadable"},
		{"cached", whole, func(string) {
			must(t, os.WriteFile(put(whole.Cache, "b1", "cache", "c1", "metadata.json"), []byte(meta), 0o644))
		}, ""},
		{"cache without metadata", whole, func(string) { put(whole.Cache, "b1", "cache", "c2", "snapfile") }, "cache-metadata-missing"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := makeTemplate(t, sound(nil))
			tt.do(dir)
			if got := broken(Check(openTemplate(t, dir), tt.host)); got != tt.want {
				t.Errorf("found %q, want %q", got, tt.want)
			}
		})
	}
}

// TestInUse marks an image as a mounted one is, and reads it.
func TestInUse(t *testing.T) {
	dir := makeTemplate(t, sound(nil))
	image := filepath.Join(dir, "rootfs.ext4")
	b, err := os.ReadFile(image)
	must(t, err)
	b[1024+0x60] |= 0x4 // needs recovery
	must(t, os.WriteFile(image, b, 0o644))
	results := Check(openTemplate(t, image), Host{})
	if broken(results) != "" || !strings.Contains(results[0].Detail, "in use") {
		t.Errorf("%+v", results)
	}
}

func TestOpenErrors(t *testing.T) {
	for _, name := range []string{filepath.Join(t.TempDir(), "absent"), "/dev/null"} {
		if tpl, err := Open(name); err == nil {
			tpl.Close()
			t.Errorf("%s was taken", name)
		}
	}
}

func TestDiff(t *testing.T) {
	change := func(changes files) string { return makeTemplate(t, sound(changes)) }
	base := change(files{"etc/long": strings.Repeat("a", 9000)})
	tests := []struct {
		name  string
		other string
		files string
		init  string
	}{
		{"same", change(files{"etc/long": strings.Repeat("a", 9000), "var/log": "not compared"}), "", ""},
		{"init", change(files{"etc/long": strings.Repeat("a", 9000), "sbin/init": "#!/bin/sh\nexec /usr/bin/envd\n"}), "/sbin/init",
			"  #!/bin/sh|- mount -t cgroup2 cgroup2 /sys/fs/cgroup|  exec /usr/bin/envd"},
		{"content of the same size", change(files{"etc/long": strings.Repeat("b", 9000)}), "/etc/long", ""},
		{"missing, new, mode, link", change(files{"etc/new": "x", "etc/passwd": "-> shadow", "usr/bin/envd": "0644 " + program(0x3e)}),
			"/etc/long,/etc/new,/etc/passwd,/usr/bin/envd", ""},
		{"a module", change(files{"etc/long": strings.Repeat("a", 9000), "usr/lib/modules/6.1/virtio_net.ko": "driver"}), "/usr/lib/modules,/usr/lib/modules/6.1,/usr/lib/modules/6.1/virtio_net.ko", ""},
		{"wrapper", change(files{"etc/long": strings.Repeat("a", 9000), "usr/local/bin/start-envd.sh": "#!/bin/sh\n"}), "/usr/local/bin/start-envd.sh", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, err := Diff(openTemplate(t, base), openTemplate(t, tt.other), Host{}, Host{})
			must(t, err)
			var names []string
			for _, f := range d.Files {
				names = append(names, f.Name)
			}
			if got := strings.Join(names, ","); got != tt.files {
				t.Errorf("differ: %s, want %s", got, tt.files)
			}
			if got := strings.Join(d.Init, "|"); got != tt.init {
				t.Errorf("init: %s, want %s", got, tt.init)
			}
			if d.Same() != (tt.files == "") || len(d.Unread) > 0 {
				t.Errorf("same: %v, unread: %v", d.Same(), d.Unread)
			}
		})
	}
}

// TestDiffOfKernels: two templates that name versions whose files differ, or are not
// there.
func TestDiffOfKernels(t *testing.T) {
	kernels := t.TempDir()
	for version, content := range map[string]string{"6.1-a": "kernel a", "6.1-b": "kernel b"} {
		must(t, os.MkdirAll(filepath.Join(kernels, version), 0o755))
		must(t, os.WriteFile(filepath.Join(kernels, version, "vmlinux.bin"), []byte(content), 0o644))
	}
	image := makeTemplate(t, sound(files{}))
	of := func(version string) *Template {
		tpl := openTemplate(t, image)
		tpl.Versions.Kernel = version
		return tpl
	}
	host := Host{Kernels: kernels}
	d, err := Diff(of("6.1-a"), of("6.1-b"), host, host)
	must(t, err)
	if last := d.Rows[len(d.Rows)-1]; last.What != "vmlinux.bin" || !last.Differ || len(d.Unread) > 0 || d.Compared[len(d.Compared)-1] != "vmlinux.bin" {
		t.Errorf("%+v, %v, %v", last, d.Unread, d.Compared)
	}
	d, err = Diff(of("6.1-a"), of("6.1-gone"), host, host)
	must(t, err)
	if len(d.Unread) != 1 || !strings.Contains(d.Unread[0], "6.1-gone") || slices.Contains(d.Compared, "vmlinux.bin") {
		t.Errorf("one is not there: %v, %v", d.Unread, d.Compared)
	}
}

// TestSpoiled reads an image with any of its used bytes changed: an error is
// right, an end is needed.
func TestSpoiled(t *testing.T) {
	dir := makeTemplate(t, sound(nil))
	image := filepath.Join(dir, "rootfs.ext4")
	b, err := os.ReadFile(image)
	must(t, err)
	other := openTemplate(t, makeTemplate(t, sound(nil)))
	n := 0
	for at := 1024; at < len(b); at++ {
		if b[at] == 0 {
			continue
		}
		if n++; n%23 != 0 {
			continue
		}
		spoiled := bytes.Clone(b)
		spoiled[at] ^= 0xff
		must(t, os.WriteFile(image, spoiled, 0o644))
		tpl, err := Open(image)
		must(t, err)
		Check(tpl, Host{})
		_, _ = Diff(tpl, other, Host{}, Host{}) // any error will do
		must(t, tpl.Close())
	}
	if n < 1000 {
		t.Errorf("only %d bytes are in use", n)
	}
}

// TestCodes: Codes are those that the checks name, and each has its page.
func TestCodes(t *testing.T) {
	sources, err := filepath.Glob("*.go")
	must(t, err)
	var all string
	for _, name := range sources {
		b, err := os.ReadFile(name)
		must(t, err)
		if name != "check.go" && !strings.HasSuffix(name, "_test.go") {
			all += string(b)
		}
	}
	for _, code := range Codes {
		if !strings.Contains(all, `"`+code+`"`) {
			t.Errorf("no check names %s", code)
		}
		page, err := os.ReadFile("../../docs/checks/" + code + ".md")
		if err != nil || !strings.Contains(string(page), "`"+code+"`") {
			t.Errorf("the page of %s: %v", code, err)
		}
	}
	for _, m := range regexp.MustCompile(`wrong\("([a-z0-9-]+)"`).FindAllStringSubmatch(all, -1) {
		if !slices.Contains(Codes, m[1]) {
			t.Errorf("%s is not among Codes", m[1])
		}
	}
}
