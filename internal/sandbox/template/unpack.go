package template

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"
)

// unpackDeb extracts those files of a package that keep accepts (given their
// paths without a leading slash) below root, with owners, modes and times, and
// runs none of its scripts.
func unpackDeb(ctx context.Context, deb, root string, keep func(name string) bool) error {
	cmd, err := dpkgDeb.command(ctx, "--fsys-tarfile", deb)
	if err != nil {
		return err
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("unpack %s: %w", filepath.Base(deb), err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("unpack %s: %w", filepath.Base(deb), err)
	}
	errTar := untar(out, root, keep)
	_, _ = io.Copy(io.Discard, out) // padding; after an error, the rest
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("unpack %s: %w", filepath.Base(deb), toolError(ctx, dpkgDeb.name, err, stderr.String()))
	}
	if errTar != nil {
		return fmt.Errorf("unpack %s: %w", filepath.Base(deb), errTar)
	}
	return nil
}

func untar(r io.Reader, root string, keep func(string) bool) error {
	in, err := os.OpenRoot(root) // nothing in an archive can lead out of it
	if err != nil {
		return err
	}
	defer in.Close()
	for t := tar.NewReader(r); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		h.Name, h.Linkname = mergeUsr(h.Name), linkTarget(h)
		if h.Name == "." || !keep(h.Name) {
			continue
		}
		if err := untarEntry(in, h, t); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
}

// linkTarget gives a hard link's target the treatment of names; a symbolic
// link's is the guest's business.
func linkTarget(h *tar.Header) string {
	if h.Typeflag == tar.TypeLink {
		return mergeUsr(h.Linkname)
	}
	return h.Linkname
}

// mergeUsr moves /bin, /sbin and /lib* under /usr, where Debian's installer puts
// them by symbolic links and some packages of Debian 12 do not yet.
func mergeUsr(name string) string {
	name = path.Clean(strings.TrimPrefix(name, "/"))
	switch first, _, _ := strings.Cut(name, "/"); first {
	case "bin", "sbin", "lib", "lib32", "lib64", "libx32":
		return "usr/" + name
	}
	return name
}

func untarEntry(in *os.Root, h *tar.Header, body io.Reader) error {
	mode := h.FileInfo().Mode()
	if err := in.MkdirAll(path.Dir(h.Name), 0o755); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		if err := in.MkdirAll(h.Name, 0o755); err != nil {
			return err
		}
	case tar.TypeReg:
		if err := untarFile(in, h.Name, body); err != nil {
			return err
		}
	case tar.TypeSymlink:
		if err := in.Symlink(h.Linkname, h.Name); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
		return in.Lchown(h.Name, h.Uid, h.Gid)
	case tar.TypeLink:
		return in.Link(h.Linkname, h.Name)
	default:
		return nil // devices: devtmpfs makes them
	}
	if err := in.Lchown(h.Name, h.Uid, h.Gid); err != nil {
		return err
	}
	if err := in.Chmod(h.Name, mode); err != nil { // after the owner: chown clears set-uid
		return err
	}
	return in.Chtimes(h.Name, time.Time{}, h.ModTime)
}

func untarFile(in *os.Root, name string, body io.Reader) error {
	f, err := in.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, body); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
