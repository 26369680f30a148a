package guest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// move renames. A regular file goes to another file system by copy, as to and
// from a /tmp in memory; a directory there is refused with EXDEV.
func move(from, to string) error {
	err := os.Rename(from, to)
	if !errors.Is(err, syscall.EXDEV) {
		return err
	}
	st, serr := os.Lstat(from)
	if serr != nil {
		return serr
	}
	if !st.Mode().IsRegular() {
		return err
	}
	if err := copyFile(from, to, st); err != nil {
		return fmt.Errorf("move %s to %s: %w", from, to, err)
	}
	return os.Remove(from)
}

// copyFile makes the copy beside its place first: what is there is replaced
// whole or not at all.
func copyFile(from, to string, st os.FileInfo) (err error) {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	tmp := fmt.Sprintf("%s.%d.tmp", to, os.Getpid())
	dst, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, st.Mode().Perm())
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(tmp)
		}
	}()
	_, err = io.Copy(dst, src)
	if err = errors.Join(err, dst.Close()); err != nil {
		return err
	}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok && os.Geteuid() == 0 {
		if err := os.Chown(tmp, int(sys.Uid), int(sys.Gid)); err != nil {
			return err
		}
	}
	if err := errors.Join(os.Chmod(tmp, st.Mode().Perm()), os.Chtimes(tmp, st.ModTime(), st.ModTime())); err != nil {
		return err
	}
	return os.Rename(tmp, to)
}
