package guest_test

import (
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"

	"connectrpc.com/connect"

	"tapwatch/internal/nettest"
	"tapwatch/internal/sandbox/envd/guest"
	pb "tapwatch/internal/sandbox/envd/proto/filesystem"
)

func files(t *testing.T) pb.FilesystemClient {
	t.Helper()
	url, _ := daemon(t, guest.Config{})
	return pb.NewFilesystemClient(http.DefaultClient, url, connect.WithProtoJSON())
}

// tree makes a directory with d/deep/f, d/link -> f, d/broken -> nowhere, f.
func tree(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, err := range []error{
		os.MkdirAll(dir+"/d/deep", 0o750),
		os.WriteFile(dir+"/d/deep/f", []byte("12345"), 0o640),
		os.WriteFile(dir+"/f", nil, 0o600),
		os.Symlink(dir+"/f", dir+"/d/link"),
		os.Symlink("nowhere", dir+"/d/broken"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestStat(t *testing.T) {
	nettest.NeedRoot(t) // for the owner
	c, dir := files(t), tree(t)
	stat := func(path string) (*pb.EntryInfo, error) {
		r, err := c.Stat(t.Context(), connect.NewRequest(&pb.StatRequest{Path: path}))
		if err != nil {
			return nil, err
		}
		return r.Msg.GetEntry(), nil
	}
	e, err := stat(dir + "/d/deep/f")
	if err != nil {
		t.Fatal(err)
	}
	if e.GetName() != "f" || e.GetPath() != dir+"/d/deep/f" || e.GetType() != pb.FileType_FILE_TYPE_FILE || e.GetSize() != 5 ||
		e.GetMode() != 0o640 || e.GetPermissions() != "-rw-r-----" || e.GetOwner() != "root" || e.GetGroup() != "root" ||
		e.GetModifiedTime().AsTime().IsZero() || e.SymlinkTarget != nil {
		t.Errorf("file: %v", e)
	}
	if e, err = stat(dir + "/d/"); err != nil || e.GetType() != pb.FileType_FILE_TYPE_DIRECTORY || e.GetName() != "d" {
		t.Errorf("directory: %v, %v", e, err)
	}
	if e, err = stat(dir + "/d/link"); err != nil || e.GetType() != pb.FileType_FILE_TYPE_FILE || e.GetSymlinkTarget() != dir+"/f" {
		t.Errorf("link: %v, %v", e, err)
	}
	if e, err = stat(dir + "/d/broken"); err != nil || e.GetType() != pb.FileType_FILE_TYPE_SYMLINK || e.GetSymlinkTarget() != "nowhere" {
		t.Errorf("broken link: %v, %v", e, err)
	}
	_, err = stat(dir + "/nonesuch")
	wantCode(t, err, connect.CodeNotFound)
}

func TestListDir(t *testing.T) {
	c, dir := files(t), tree(t)
	list := func(path string, depth uint32) (string, error) {
		r, err := c.ListDir(t.Context(), connect.NewRequest(&pb.ListDirRequest{Path: path, Depth: depth}))
		if err != nil {
			return "", err
		}
		var names []string
		for _, e := range r.Msg.GetEntries() {
			names = append(names, strings.TrimPrefix(e.GetPath(), dir+"/"))
		}
		return strings.Join(names, " "), nil
	}
	for depth, want := range map[uint32]string{
		0: "d f", 1: "d f", 2: "d d/broken d/deep d/link f", 9: "d d/broken d/deep d/deep/f d/link f",
	} {
		if got, err := list(dir, depth); err != nil || got != want {
			t.Errorf("depth %d: %s, %v, want %s", depth, got, err, want)
		}
	}
	_, err := list(dir+"/nonesuch", 1)
	wantCode(t, err, connect.CodeNotFound)
	_, err = list(dir+"/f", 1)
	wantCode(t, err, connect.CodeInvalidArgument)
}

func TestMakeMoveRemove(t *testing.T) {
	nettest.NeedRoot(t)
	c, dir := files(t), tree(t)
	ctx := t.Context()
	made, err := c.MakeDir(ctx, as(connect.NewRequest(&pb.MakeDirRequest{Path: dir + "/x/y"}), "nobody"))
	if err != nil || made.Msg.GetEntry().GetOwner() != "nobody" || made.Msg.GetEntry().GetType() != pb.FileType_FILE_TYPE_DIRECTORY {
		t.Errorf("made %v, %v", made, err)
	}
	_, err = c.MakeDir(ctx, connect.NewRequest(&pb.MakeDirRequest{Path: dir + "/x/y"}))
	wantCode(t, err, connect.CodeAlreadyExists)
	_, err = c.MakeDir(ctx, connect.NewRequest(&pb.MakeDirRequest{Path: dir + "/f/y"}))
	wantCode(t, err, connect.CodeInvalidArgument)

	moved, err := c.Move(ctx, connect.NewRequest(&pb.MoveRequest{Source: dir + "/d/deep", Destination: dir + "/new/place"}))
	if err != nil || moved.Msg.GetEntry().GetPath() != dir+"/new/place" {
		t.Errorf("moved %v, %v", moved, err)
	}
	if b, err := os.ReadFile(dir + "/new/place/f"); err != nil || string(b) != "12345" {
		t.Errorf("moved file: %q, %v", b, err)
	}
	_, err = c.Move(ctx, connect.NewRequest(&pb.MoveRequest{Source: dir + "/nonesuch", Destination: dir + "/z"}))
	wantCode(t, err, connect.CodeNotFound)

	for range 2 { // what is gone is no error
		if _, err := c.Remove(ctx, connect.NewRequest(&pb.RemoveRequest{Path: dir + "/new"})); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(dir + "/new"); !os.IsNotExist(err) {
		t.Errorf("removed: %v", err)
	}
}

// A guest's /tmp is in memory: moving from it crosses file systems.
func TestMoveAcrossFileSystems(t *testing.T) {
	nettest.NeedRoot(t)
	c, dir := files(t), tree(t)
	memory := t.TempDir()
	if err := syscall.Mount("tmpfs", memory, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(memory, 0); err != nil {
			t.Error(err)
		}
	})
	move := func(from, to string) error {
		_, err := c.Move(t.Context(), connect.NewRequest(&pb.MoveRequest{Source: from, Destination: to}))
		return err
	}
	if err := move(dir+"/d/deep/f", memory+"/f"); err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(memory + "/f")
	if err != nil || st.Mode().Perm() != 0o640 || st.Size() != 5 {
		t.Errorf("moved: %v, %v", st, err)
	}
	if _, err := os.Stat(dir + "/d/deep/f"); !os.IsNotExist(err) {
		t.Errorf("the source: %v", err)
	}
	wantCode(t, move(dir+"/d", memory+"/d"), connect.CodeFailedPrecondition)
	if err := os.WriteFile(dir+"/large", make([]byte, 2<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := move(dir+"/large", memory+"/large"); err == nil {
		t.Error("2 MiB moved to 1 MiB")
	}
	if left, err := os.ReadDir(memory); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
