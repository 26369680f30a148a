package guest

import (
	"errors"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"google.golang.org/protobuf/types/known/timestamppb"

	pb "tapwatch/internal/sandbox/envd/proto/filesystem"
)

// entryOf describes what is at the path. A link is described as what it leads
// to, with the target beside it; one that leads nowhere, as a link.
func entryOf(path string) (*pb.EntryInfo, error) {
	st, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	e := &pb.EntryInfo{Name: filepath.Base(path), Path: path}
	if st.Mode()&fs.ModeSymlink != 0 {
		target, err := filepath.EvalSymlinks(path)
		if err != nil {
			e.Type = pb.FileType_FILE_TYPE_SYMLINK
			target, _ = os.Readlink(path) // one that cannot be read has none to show
		} else if st, err = os.Stat(target); err != nil {
			return nil, err
		}
		e.SymlinkTarget = &target
	}
	if e.Type == pb.FileType_FILE_TYPE_UNSPECIFIED {
		e.Type = typeOf(st.Mode())
	}
	e.Size = st.Size()
	e.Mode = uint32(st.Mode().Perm())
	e.Permissions = st.Mode().String()
	e.ModifiedTime = timestamppb.New(st.ModTime())
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		e.Owner, e.Group = userName(sys.Uid), groupName(sys.Gid)
	}
	return e, nil
}

// typeOf leaves devices, pipes and sockets without a type: the protocol has none.
func typeOf(mode fs.FileMode) pb.FileType {
	switch {
	case mode.IsRegular():
		return pb.FileType_FILE_TYPE_FILE
	case mode.IsDir():
		return pb.FileType_FILE_TYPE_DIRECTORY
	}
	return pb.FileType_FILE_TYPE_UNSPECIFIED
}

// userName is the number where it has no name.
func userName(uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return id
}

func groupName(gid uint32) string {
	id := strconv.FormatUint(uint64(gid), 10)
	if g, err := user.LookupGroupId(id); err == nil {
		return g.Name
	}
	return id
}

// entriesUnder describes what is in a directory, down to the depth; what
// vanishes meanwhile is left out.
func entriesUnder(dir string, depth int) ([]*pb.EntryInfo, error) {
	children, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var all []*pb.EntryInfo
	for _, c := range children {
		path := filepath.Join(dir, c.Name())
		e, err := entryOf(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, e)
		if depth > 1 && c.IsDir() { // not through links: they may lead round
			below, err := entriesUnder(path, depth-1)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
			all = append(all, below...)
		}
	}
	return all, nil
}
