package ext4

import (
	"errors"
	"io"
	"io/fs"
	"path"
	"strings"
)

// FS is an image. It is an fs.FS, with names like "etc/passwd" and "." for its
// root; symbolic links lead nowhere out of the image. All methods may be called
// concurrently.
type FS struct {
	super
	r io.ReaderAt
}

var (
	_ fs.ReadDirFS  = (*FS)(nil)
	_ fs.StatFS     = (*FS)(nil)
	_ fs.ReadLinkFS = (*FS)(nil)

	errNotDir  = errors.New("not a directory")
	errNotLink = errors.New("not a symbolic link")
	errLoop    = errors.New("too many symbolic links")
)

const (
	// maxLinks is how many symbolic links a name may lead through, as in Linux.
	maxLinks = 40
	// maxSteps bounds the names that one look-up follows, links included.
	maxSteps = 256
	// maxTarget is the longest target of a symbolic link, as in Linux.
	maxTarget = 4096
)

// New reads the superblock. r must stay open as long as the FS is used.
func New(r io.ReaderAt) (*FS, error) {
	s, err := readSuper(r)
	if err != nil {
		return nil, err
	}
	f := &FS{super: s, r: r}
	root, err := f.inode(rootInode)
	if err != nil {
		return nil, err
	}
	if !root.isDir() {
		return nil, damaged("its root is no directory")
	}
	return f, nil
}

// Dirty reports that the image is mounted, or was not unmounted: its journal may
// hold what is not yet in its place, so that what is read may be some seconds old.
func (f *FS) Dirty() bool { return f.incompat&incompatRecover != 0 }

// Size returns the bytes of the file system, which the image must have.
func (f *FS) Size() int64 { return int64(f.blocks) * f.blockSize }

// Open implements fs.FS.
func (f *FS) Open(name string) (fs.File, error) {
	i, err := f.lookup("open", name, true)
	if err != nil {
		return nil, err
	}
	return f.open(name, i)
}

// Stat implements fs.StatFS: it follows symbolic links.
func (f *FS) Stat(name string) (fs.FileInfo, error) {
	i, err := f.lookup("stat", name, true)
	if err != nil {
		return nil, err
	}
	return info{path.Base(name), i}, nil
}

// Lstat implements fs.ReadLinkFS.
func (f *FS) Lstat(name string) (fs.FileInfo, error) {
	i, err := f.lookup("lstat", name, false)
	if err != nil {
		return nil, err
	}
	return info{path.Base(name), i}, nil
}

// ReadLink implements fs.ReadLinkFS.
func (f *FS) ReadLink(name string) (string, error) {
	i, err := f.lookup("readlink", name, false)
	if err != nil {
		return "", err
	}
	target, err := f.target(i)
	if err != nil {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: err}
	}
	return target, nil
}

// ReadDir implements fs.ReadDirFS: the entries by name.
func (f *FS) ReadDir(name string) ([]fs.DirEntry, error) {
	i, err := f.lookup("readdir", name, true)
	if err != nil {
		return nil, err
	}
	list, err := f.list(i)
	if err != nil {
		return list, &fs.PathError{Op: "readdir", Path: name, Err: err}
	}
	return list, nil
}

func (f *FS) list(i *inode) ([]fs.DirEntry, error) {
	entries, err := f.entries(i)
	if err != nil {
		return nil, err
	}
	list := make([]fs.DirEntry, 0, len(entries))
	for _, e := range entries {
		child, err := f.inode(e.inode)
		if err != nil {
			return list, err
		}
		list = append(list, fs.FileInfoToDirEntry(info{e.name, child}))
	}
	return list, nil
}

func (f *FS) lookup(op, name string, follow bool) (*inode, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	i, err := f.walk(name, follow)
	if err != nil {
		return nil, &fs.PathError{Op: op, Path: name, Err: err}
	}
	return i, nil
}

// walk goes from the root to a name. Links are replaced by their targets; "..", of
// which only those have any, goes back along the way that was taken.
func (f *FS) walk(name string, follow bool) (*inode, error) {
	root, err := f.inode(rootInode)
	if err != nil {
		return nil, err
	}
	way, rest, links := []*inode{root}, strings.Split(name, "/"), 0
	for steps := 0; len(rest) > 0; steps++ {
		if steps == maxSteps {
			return nil, errLoop
		}
		step := rest[0]
		rest = rest[1:]
		here := way[len(way)-1]
		if !here.isDir() {
			return nil, errNotDir
		}
		if step == "" || step == "." {
			continue
		}
		if step == ".." {
			way = way[:max(len(way)-1, 1)]
			continue
		}
		next, err := f.child(here, step)
		if err != nil {
			return nil, err
		}
		if !next.isSymlink() || len(rest) == 0 && !follow {
			way = append(way, next)
			continue
		}
		if links++; links > maxLinks {
			return nil, errLoop
		}
		target, err := f.target(next)
		if err != nil {
			return nil, err
		}
		if strings.HasPrefix(target, "/") {
			way = way[:1]
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return way[len(way)-1], nil
}

func (f *FS) child(dir *inode, name string) (*inode, error) {
	number, err := f.find(dir, name)
	if err != nil {
		return nil, err
	}
	return f.inode(number)
}

// target is where a symbolic link leads: short ones lie in the inode.
func (f *FS) target(i *inode) (string, error) {
	switch {
	case !i.isSymlink():
		return "", errNotLink
	case i.size == 0 || i.size > maxTarget:
		return "", damaged("inode %d is a link of %d bytes", i.number, i.size)
	case i.size < int64(len(i.block)) && i.flags&(flagExtents|flagInlineData) == 0:
		return string(i.block[:i.size]), nil
	}
	b := make([]byte, i.size)
	if _, err := f.content(i).ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	return string(b), nil
}
