package image

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
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
	// Unread says what could not be compared.
	Unread []string `json:"unread"`
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

// Diff compares two templates. The error says which image cannot be read.
func Diff(a, b *Template) (Difference, error) {
	d := Difference{Init: []string{}, Wrapper: []string{}, Files: []FileDifference{}, Unread: []string{}}
	for _, t := range []*Template{a, b} {
		if t.FSErr != nil {
			return d, fmt.Errorf("compare templates: %s: %w", t.Rootfs, t.FSErr)
		}
	}
	d.Rows = rows(a, b)
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
