package image

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"strings"
)

// Row is one line of the table that compares two templates by hand.
type Row struct {
	What   string `json:"what"`
	A      string `json:"a"`
	B      string `json:"b"`
	Differ bool   `json:"differ"`
}

// Difference is how two templates differ.
type Difference struct {
	Rows []Row `json:"rows"`
	// Init and Wrapper are line by line: "- " of A, "+ " of B, "  " of both. Empty
	// where they are the same or no text.
	Init    []string `json:"init"`
	Wrapper []string `json:"wrapper"`
	// Files lists what differs in /sbin, /etc and envd's places.
	Files []FileDifference `json:"files"`
	// Compared says what was compared, and Unread what could not be.
	Compared []string `json:"compared"`
	Unread   []string `json:"unread"`
}

// Same reports that nothing differs that makes a guest behave otherwise: sizes and
// the build's id may.
func (d Difference) Same() bool {
	for _, r := range d.Rows {
		if r.Differ && r.What != rowDisk && r.What != rowBuild && r.What != rowSize {
			return false
		}
	}
	return len(d.Files) == 0
}

// The rows that differ between two builds of the same.
const (
	rowSize  = "rootfs size"
	rowDisk  = "rootfs on disk"
	rowBuild = "build"
)

// Diff compares two templates, and what hosts have for them. The error says which image
// cannot be read.
func Diff(a, b *Template, hostA, hostB Host) (Difference, error) {
	d := Difference{
		Compared: []string{"sizes", "build", "kernel's version", "Firecracker", "/sbin/init", "envd", "every file of /sbin, /etc and /lib/modules"},
		Init:     []string{}, Wrapper: []string{}, Files: []FileDifference{}, Unread: []string{},
	}
	for _, t := range []*Template{a, b} {
		if t.FSErr != nil {
			return d, fmt.Errorf("compare templates: %s: %w", t.Rootfs, t.FSErr)
		}
	}
	d.Rows = rows(a, b)
	d.compareKernels(a, b, hostA, hostB)
	d.Init = d.lines(a, b, initPath, initPath)
	if wa, wb := a.wrapper(), b.wrapper(); wa != "" && wb != "" {
		d.Wrapper = d.lines(a, b, wa, wb)
	}
	d.compareFiles(a, b)
	return d, nil
}

func rows(a, b *Template) []Row {
	row := func(what string, of func(*Template) string) Row {
		r := Row{What: what, A: of(a), B: of(b)}
		r.Differ = r.A != r.B
		return r
	}
	return []Row{
		row(rowSize, func(t *Template) string { return bytesOf(t.Size) }),
		row(rowDisk, func(t *Template) string { return bytesOf(t.OnDisk) }),
		row(rowBuild, func(t *Template) string { return orDash(t.Versions.BuildID) }),
		row("kernel", func(t *Template) string { return orDash(t.Versions.Kernel) }),
		row("Firecracker", func(t *Template) string { return orDash(t.Versions.VMM) }),
		row("init", func(t *Template) string { return t.summary(initPath) }),
		row("envd wrapper", func(t *Template) string { return t.summary(t.wrapper()) }),
		row("envd binary", func(t *Template) string { return t.summary(t.envd()) }),
	}
}

// compareKernels compares the files that the VMM boots, where they are.
func (d *Difference) compareKernels(a, b *Template, hostA, hostB Host) {
	if a.Versions.Kernel == "" || b.Versions.Kernel == "" || hostA.Kernels == "" || hostB.Kernels == "" {
		return // Compared does not name them
	}
	for _, name := range []string{"vmlinux.bin", "initrd.img"} {
		r := Row{What: name}
		ok := true
		for _, one := range []struct {
			t    *Template
			host Host
			text *string
		}{{a, hostA, &r.A}, {b, hostB, &r.B}} {
			var err error
			if *one.text, err = fileSummary(one.host.Kernels, one.t.Versions.Kernel, name); err != nil {
				ok = false
				d.Unread = append(d.Unread, fmt.Sprintf("%s of %s: %v", name, one.t.Name, err))
			}
		}
		if r.A == none && r.B == none { // many a kernel has no initrd
			continue
		}
		if r.Differ = r.A != r.B; ok {
			d.Rows = append(d.Rows, r)
			d.Compared = append(d.Compared, name)
		}
	}
}

const none = "none"

// fileSummary is a file of the host in a few words.
func fileSummary(dir, version, name string) (string, error) {
	path, err := find(dir, version, name)
	if err != nil && name == "initrd.img" {
		return none, nil
	}
	if err != nil {
		return "", err
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, io.LimitReader(f, maxHashed))
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d bytes, sha256 %s", n, hex.EncodeToString(h.Sum(nil))[:12]), nil
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// summary is a file in a few words: its mode, size and content's hash.
func (t *Template) summary(name string) string {
	if name == "" {
		return "none"
	}
	info, err := t.FS.Stat(name)
	if missing(err) {
		return "none"
	}
	if err != nil {
		return "unreadable: " + err.Error()
	}
	sum, err := t.hash(name)
	if err != nil {
		return "unreadable: " + err.Error()
	}
	return fmt.Sprintf("/%s %v, %d bytes, sha256 %s", name, info.Mode(), info.Size(), sum[:12])
}

// maxHashed bounds what is read of one file to compare it.
const maxHashed = 256 << 20

func (t *Template) hash(name string) (string, error) {
	f, err := t.FS.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, io.LimitReader(f, maxHashed+1))
	if err == nil && n > maxHashed {
		err = fmt.Errorf("longer than %d MiB", maxHashed>>20)
	}
	return hex.EncodeToString(h.Sum(nil)), err
}

// lines compares two texts line by line.
func (d *Difference) lines(a, b *Template, nameA, nameB string) []string {
	ta, errA := a.text(nameA)
	tb, errB := b.text(nameB)
	if errA != nil || errB != nil || ta == tb || strings.HasPrefix(ta, elfMagic) || strings.HasPrefix(tb, elfMagic) {
		return []string{}
	}
	lines, err := compareLines(ta, tb)
	if err != nil {
		d.Unread = append(d.Unread, "/"+nameA+" line by line: "+err.Error())
	}
	return lines
}
