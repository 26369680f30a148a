package template

import (
	"fmt"
	"io"
	"io/fs"
)

const (
	cpioMagic   = "070701"
	cpioTrailer = "TRAILER!!!"
)

// cpioWriter writes an initramfs in the "newc" format, owned by root and without
// times, so that the same files give the same bytes.
// From Documentation/driver-api/early-userspace/buffer-format.rst.
type cpioWriter struct {
	w     io.Writer
	err   error // the first one; later calls do nothing
	inode int
}

// cpioMode converts a mode into the kernel's.
func cpioMode(m fs.FileMode) uint32 {
	mode := uint32(m.Perm())
	switch {
	case m.IsDir():
		mode |= 0o040000
	case m&fs.ModeCharDevice != 0:
		mode |= 0o020000
	default:
		mode |= 0o100000
	}
	return mode
}

// add writes a file, or a directory where mode says so; parents come first.
func (c *cpioWriter) add(name string, mode fs.FileMode, body []byte) {
	c.entry(name, cpioMode(mode), 0, 0, body)
}

// addChar writes a character device.
func (c *cpioWriter) addChar(name string, mode fs.FileMode, major, minor uint32) {
	c.entry(name, cpioMode(mode|fs.ModeCharDevice), major, minor, nil)
}

// close writes the end mark.
func (c *cpioWriter) close() error {
	c.entry(cpioTrailer, 0, 0, 0, nil)
	return c.err
}

func (c *cpioWriter) entry(name string, mode, major, minor uint32, body []byte) {
	c.inode++
	// inode, mode, uid, gid, links, mtime, size, device of the file, device it stands for, name size, checksum
	header := fmt.Sprintf("%s%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X", cpioMagic,
		c.inode, mode, 0, 0, 1, 0, len(body), 0, 0, major, minor, len(name)+1, 0)
	c.write([]byte(header + name + "\x00"))
	c.pad(len(header) + len(name) + 1)
	c.write(body)
	c.pad(len(body))
}

// pad aligns to four bytes.
func (c *cpioWriter) pad(n int) { c.write(make([]byte, -n&3)) }

func (c *cpioWriter) write(b []byte) {
	if c.err == nil {
		_, c.err = c.w.Write(b)
	}
}
