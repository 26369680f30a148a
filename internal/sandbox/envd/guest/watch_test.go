package guest_test

import (
	"context"
	"os"
	"testing"

	"connectrpc.com/connect"

	pb "tapwatch/internal/sandbox/envd/proto/filesystem"
)

// seen collects events until all that are wanted have come.
type seen map[string]bool

func (s seen) add(e *pb.FilesystemEvent) {
	s[e.GetType().String()[len("EVENT_TYPE_"):]+" "+e.GetName()] = true
}

func (s seen) has(all ...string) bool {
	for _, one := range all {
		if !s[one] {
			return false
		}
	}
	return true
}

// change does something of each kind.
func change(t *testing.T, dir string) {
	t.Helper()
	for _, err := range []error{
		os.WriteFile(dir+"/new", []byte("x"), 0o600),
		os.Chmod(dir+"/new", 0o640),
		os.Rename(dir+"/new", dir+"/moved"),
		os.Remove(dir + "/moved"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

var changes = []string{"CREATE new", "WRITE new", "CHMOD new", "RENAME new", "CREATE moved", "REMOVE moved"}

func TestWatchDir(t *testing.T) {
	c, dir := files(t), t.TempDir()
	ctx, cancel := context.WithCancel(bounded(t))
	defer cancel()
	stream, err := c.WatchDir(ctx, connect.NewRequest(&pb.WatchDirRequest{Path: dir}))
	if err != nil {
		t.Fatal(err)
	}
	if !stream.Receive() || stream.Msg().GetStart() == nil {
		t.Fatalf("first event %v, %v", stream.Msg(), stream.Err())
	}
	change(t, dir)
	for got := (seen{}); !got.has(changes...); {
		if !stream.Receive() {
			t.Fatalf("got %v, then %v", got, stream.Err())
		}
		if e := stream.Msg().GetFilesystem(); e != nil {
			got.add(e)
		}
	}
}

func TestWatchRefused(t *testing.T) {
	c, dir := files(t), tree(t)
	for path, code := range map[string]connect.Code{
		dir + "/nonesuch": connect.CodeNotFound,
		dir + "/f":        connect.CodeInvalidArgument,
	} {
		stream, err := c.WatchDir(bounded(t), connect.NewRequest(&pb.WatchDirRequest{Path: path}))
		if err != nil {
			t.Fatal(err)
		}
		for stream.Receive() {
			t.Errorf("%s: %v", path, stream.Msg())
		}
		wantCode(t, stream.Err(), code)
		_, err = c.CreateWatcher(t.Context(), connect.NewRequest(&pb.CreateWatcherRequest{Path: path}))
		wantCode(t, err, code)
	}
}

// Clients that cannot stream come for the events, also of directories made since.
func TestWatcher(t *testing.T) {
	c, dir := files(t), t.TempDir()
	ctx := bounded(t)
	made, err := c.CreateWatcher(ctx, connect.NewRequest(&pb.CreateWatcherRequest{Path: dir, Recursive: true}))
	if err != nil {
		t.Fatal(err)
	}
	id := made.Msg.GetWatcherId()
	got := seen{}
	await := func(all ...string) {
		t.Helper()
		eventually(t, "all events have come", func() bool {
			r, err := c.GetWatcherEvents(ctx, connect.NewRequest(&pb.GetWatcherEventsRequest{WatcherId: id}))
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range r.Msg.GetEvents() {
				got.add(e)
			}
			return got.has(all...)
		})
	}
	change(t, dir)
	if err := os.Mkdir(dir+"/sub", 0o700); err != nil {
		t.Fatal(err)
	}
	await(append([]string{"CREATE sub"}, changes...)...)
	if err := os.WriteFile(dir+"/sub/f", []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	await("CREATE sub/f", "WRITE sub/f")
	remove := func() error {
		_, err := c.RemoveWatcher(ctx, connect.NewRequest(&pb.RemoveWatcherRequest{WatcherId: id}))
		return err
	}
	if err := remove(); err != nil {
		t.Error(err)
	}
	wantCode(t, remove(), connect.CodeNotFound)
	_, err = c.GetWatcherEvents(ctx, connect.NewRequest(&pb.GetWatcherEventsRequest{WatcherId: id}))
	wantCode(t, err, connect.CodeNotFound)
}
