package image

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"strings"
)

// initPath is what a kernel without init= starts, and E2B's.
const initPath = "sbin/init"

func checkInit(t *Template, _ Host) *Result {
	info, err := t.FS.Stat(initPath)
	switch {
	case missing(err):
		return wrong("init-missing", "the image has no /sbin/init, so its kernel panics: no working init found",
			"put an init into the image (systemd, busybox or a script), as /sbin/init or with a link there", err.Error())
	case err != nil:
		return unsure(err.Error())
	case !info.Mode().IsRegular():
		return wrong("init-missing", "/sbin/init is no file", "put a program there, or a link to one", "its mode is "+info.Mode().String())
	case info.Mode()&0o111 == 0:
		return wrong("init-not-executable", "/sbin/init is not executable, so the kernel cannot start it", "chmod 755 /sbin/init in the image",
			"its mode is "+info.Mode().String())
	}
	b, err := t.head(initPath)
	if err != nil {
		return unsure(err.Error())
	}
	if strings.HasPrefix(b, elfMagic) {
		return fine("a program, " + bytesOf(info.Size()))
	}
	line, _, _ := strings.Cut(b, "\n")
	if why, fix := t.badShebang(line); why != "" {
		return wrong("init-shebang", "the first line of /sbin/init is no shebang that a kernel takes: "+why, fix, fmt.Sprintf("it is %q", clip(line)))
	}
	return fine("a script: " + clip(line))
}

// badShebang says what is wrong with a script's first line.
func (t *Template) badShebang(line string) (why, fix string) {
	const backslash = `it begins with #\!, as a shell with history expansion writes it`
	switch {
	case strings.HasPrefix(line, `#\!`):
		return backslash, `write #! without the backslash; in a shell quote the heredoc's END, or use printf`
	case strings.HasPrefix(line, "\uFEFF"):
		return "it begins with a byte order mark", "save the file as UTF-8 without a byte order mark"
	case !strings.HasPrefix(line, "#!"):
		return "it does not begin with #!", "begin it with #! and an interpreter of the image, such as #!/bin/sh"
	case strings.HasSuffix(line, "\r"):
		return "it ends with a carriage return, which the kernel takes for a part of the name", "save the file with Unix line ends"
	}
	words := strings.Fields(line[2:])
	if len(words) == 0 || !path.IsAbs(words[0]) {
		return "it names no interpreter by its whole path", "name one of the image, such as #!/bin/sh"
	}
	info, err := t.FS.Stat(inImage(words[0]))
	switch {
	case missing(err):
		return "the image has no " + words[0], "install it, or name another"
	case err == nil && (!info.Mode().IsRegular() || info.Mode()&0o111 == 0):
		return words[0] + " is not executable in the image", "chmod 755 " + words[0]
	}
	return "", ""
}

// inImage is an absolute path as package io/fs wants it.
func inImage(abs string) string { return strings.TrimPrefix(path.Clean("/"+abs), "/") }

// cgroupMount matches a line that mounts cgroup2, in a script or an fstab.
var cgroupMount = regexp.MustCompile(`^[^#]*\bmount\b[^#]*\bcgroup2\b|^\s*[^#\s]\S*\s+/sys/fs/cgroup\s+cgroup2\b`)

// checkCgroup looks whether init mounts cgroup2: E2B's envd makes its cgroups
// before it listens, and never listens without.
func checkCgroup(t *Template, _ Host) *Result {
	if target, err := t.resolve(initPath); err == nil && strings.HasSuffix(target, "/systemd") {
		return fine("systemd mounts it")
	}
	b, err := t.head(initPath)
	if err != nil {
		return nil // checkInit says it
	}
	if strings.HasPrefix(b, elfMagic) && t.noInittab() {
		return unsure("/sbin/init is a program: whether it mounts cgroup2 cannot be read off")
	}
	scripts := t.scripts()
	for _, name := range scripts {
		text, err := t.text(name)
		if err != nil {
			continue
		}
		for line := range strings.Lines(text) {
			if cgroupMount.MatchString(line) {
				return fine("mounted by /" + name)
			}
		}
	}
	return wrong("init-no-cgroup2", "init does not mount cgroup2: envd cannot make its cgroups, and E2B's never listens then",
		"mount it in /sbin/init, before envd is started: mount -t cgroup2 cgroup2 /sys/fs/cgroup",
		"no line mounts cgroup2 in /"+strings.Join(scripts, ", /"))
}

func (t *Template) noInittab() bool {
	_, err := t.FS.Stat("etc/inittab")
	return err != nil
}

// scriptName matches the absolute names that a script may call.
var scriptName = regexp.MustCompile(`(?:^|[\s"'=:])(/(?:etc|s?bin|usr|opt)/[\w./+-]+)`)

// maxScripts bounds how many files are followed from init.
const maxScripts = 64

// scripts are init, where it is one, and every script that they call by name, with
// the tables that they read.
func (t *Template) scripts() []string {
	found := []string{initPath}
	seen := map[string]bool{initPath: true}
	add := func(name string) {
		if !seen[name] && len(found) < maxScripts {
			seen[name] = true
			if info, err := t.FS.Stat(name); err == nil && info.Mode().IsRegular() && info.Size() <= maxText {
				found = append(found, name)
			}
		}
	}
	add("etc/inittab")
	add("etc/fstab")
	for n := 0; n < len(found); n++ {
		text, err := t.text(found[n])
		if err != nil || strings.HasPrefix(text, elfMagic) {
			continue
		}
		for _, m := range scriptName.FindAllStringSubmatch(text, 4*maxScripts) {
			add(inImage(m[1]))
		}
	}
	return found
}

// head reads the first bytes of a file.
func (t *Template) head(name string) (string, error) {
	f, err := t.FS.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b := make([]byte, 512)
	n, err := f.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	return string(b[:n]), nil
}

// resolve returns where a symbolic link leads, one step; else the name itself.
func (t *Template) resolve(name string) (string, error) {
	info, err := t.FS.Lstat(name)
	if err != nil || info.Mode()&fs.ModeSymlink == 0 {
		return name, err
	}
	return t.FS.ReadLink(name)
}

// clip shortens a line that may be anything.
func clip(line string) string {
	if len(line) > 100 {
		line = line[:100] + "..."
	}
	return strings.ToValidUTF8(line, "?")
}
