package guest_test

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"tapwatch/internal/sandbox/envd/guest"
	pb "tapwatch/internal/sandbox/envd/proto/process"
)

// daemon serves a guest daemon on loopback until the test ends.
func daemon(t *testing.T, cfg guest.Config) (url string, client pb.ProcessClient) {
	t.Helper()
	g := guest.New(cfg)
	ts := httptest.NewServer(g)
	t.Cleanup(func() {
		g.Close() // ends the streams too
		ts.Close()
	})
	return ts.URL, pb.NewProcessClient(ts.Client(), ts.URL, connect.WithProtoJSON())
}

// bounded returns a context that fails a hanging test. It carries no deadline,
// which would be sent along as the command's.
func bounded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	timer := time.AfterFunc(20*time.Second, cancel)
	t.Cleanup(func() { timer.Stop(); cancel() })
	return ctx
}

// shell asks for a shell line without stdin in a directory that every user has.
func shell(line string) *pb.StartRequest {
	stdin, cwd := false, "/"
	return &pb.StartRequest{
		Process: &pb.ProcessConfig{Cmd: "/bin/bash", Args: []string{"-c", line}, Cwd: &cwd},
		Stdin:   &stdin,
	}
}

// result is all that a finished stream brought.
type result struct {
	pid                 uint32
	stdout, stderr, pty string
	pieces, keepalives  int
	end                 *pb.ProcessEvent_EndEvent
}

// events is what Start's and Connect's streams have in common.
type events struct {
	receive func() bool
	event   func() *pb.ProcessEvent
	err     func() error
	close   func() error
}

func start(ctx context.Context, t *testing.T, c pb.ProcessClient, req *connect.Request[pb.StartRequest]) events {
	t.Helper()
	s, err := c.Start(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	return events{s.Receive, func() *pb.ProcessEvent { return s.Msg().GetEvent() }, s.Err, s.Close}
}

func connectTo(ctx context.Context, t *testing.T, c pb.ProcessClient, sel *pb.ProcessSelector) events {
	t.Helper()
	s, err := c.Connect(ctx, connect.NewRequest(&pb.ConnectRequest{Process: sel}))
	if err != nil {
		t.Fatal(err)
	}
	return events{s.Receive, func() *pb.ProcessEvent { return s.Msg().GetEvent() }, s.Err, s.Close}
}

// pid reads the start event.
func (e events) pid(t *testing.T) uint32 {
	t.Helper()
	if !e.receive() || e.event().GetStart() == nil {
		t.Fatalf("first event is %v, want start; error %v", e.event(), e.err())
	}
	return e.event().GetStart().GetPid()
}

// until reads events until their stdout together holds the text.
func (e events) until(t *testing.T, text string) {
	t.Helper()
	for out := ""; !strings.Contains(out, text); {
		if !e.receive() {
			t.Fatalf("stream ended before %q: got %q, error %v", text, out, e.err())
		}
		d := e.event().GetData()
		out += string(d.GetStdout()) + string(d.GetPty())
	}
}

// rest reads on to the end.
func (e events) rest() (r result, err error) {
	for e.receive() {
		ev := e.event()
		if ev.GetStart() != nil {
			r.pid = ev.GetStart().GetPid()
		}
		if d := ev.GetData(); d != nil {
			r.pieces++
			r.stdout += string(d.GetStdout())
			r.stderr += string(d.GetStderr())
			r.pty += string(d.GetPty())
		}
		if ev.GetKeepalive() != nil {
			r.keepalives++
		}
		if ev.GetEnd() != nil {
			r.end = ev.GetEnd()
		}
	}
	return r, e.err()
}

func run(t *testing.T, c pb.ProcessClient, req *connect.Request[pb.StartRequest]) (result, error) {
	t.Helper()
	s, err := c.Start(bounded(t), req)
	if err != nil {
		return result{}, err
	}
	return events{s.Receive, func() *pb.ProcessEvent { return s.Msg().GetEvent() }, s.Err, s.Close}.rest()
}

// as adds the user to a request.
func as[T any](req *connect.Request[T], user string) *connect.Request[T] {
	req.Header().Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user+":")))
	return req
}

func byPID(pid uint32) *pb.ProcessSelector {
	return &pb.ProcessSelector{Selector: &pb.ProcessSelector_Pid{Pid: pid}}
}

func byTag(tag string) *pb.ProcessSelector {
	return &pb.ProcessSelector{Selector: &pb.ProcessSelector_Tag{Tag: tag}}
}

func wantCode(t *testing.T, err error, code connect.Code) {
	t.Helper()
	var coded *connect.Error
	if !errors.As(err, &coded) || coded.Code() != code {
		t.Errorf("error %v, want code %v", err, code)
	}
}

// eventually waits for a condition that another process brings about.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 500 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("not so after 5 s: %s", what)
}

// dead reports whether a process is gone or waits to be reaped.
func dead(pid string) bool {
	b, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return true
	}
	_, after, _ := strings.Cut(string(b), ") ")
	return strings.HasPrefix(after, "Z")
}

func post(t *testing.T, url, token, body string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Access-Token", token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}
