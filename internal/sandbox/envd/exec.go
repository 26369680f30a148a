package envd

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"time"

	"connectrpc.com/connect"

	pb "tapwatch/internal/sandbox/envd/proto/process"
)

const (
	// keepaliveSeconds is how often a silent command's stream shows that it lives.
	keepaliveSeconds = "50"
	// maxMessage bounds one message of a stream, in bytes: the guest names its
	// length. E2B's daemon sends output in pieces of 32 KiB.
	maxMessage = 4 << 20
	// killWithin bounds the attempt to end a command whose caller gave up.
	killWithin = 3 * time.Second
)

// ExecRequest is a command to run in the sandbox.
type ExecRequest struct {
	Cmd  string // looked up in the sandbox's PATH; not a shell line
	Args []string
	Env  map[string]string // added to the user's own
	Cwd  string            // empty: the user's home
	User string            // empty: the sandbox's default user
	// Stdin is copied until its end; nil is /dev/null. A Read that blocks may
	// outlast Exec.
	Stdin io.Reader
}

// Exec runs a command and copies its output as it comes, until it ends. The
// exit code is the command's own where err is nil; a command ended by a signal
// is an error. When ctx ends first, the command's process group is killed.
func (c *Client) Exec(ctx context.Context, req ExecRequest, stdout, stderr io.Writer) (int, error) {
	code, err := c.exec(ctx, req, stdout, stderr)
	if err != nil {
		return -1, fmt.Errorf("run %s in sandbox: %w", req.Cmd, err)
	}
	return code, nil
}

func (c *Client) exec(ctx context.Context, req ExecRequest, stdout, stderr io.Writer) (int, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the stream and the copying of stdin
	x := execution{client: c, rpc: c.process(), user: req.User, stdout: stdout, stderr: stderr}
	stream, err := x.rpc.Start(ctx, request(x, startRequest(req)))
	if err != nil {
		return -1, err
	}
	defer stream.Close()
	for stream.Receive() {
		switch e := stream.Msg().GetEvent().GetEvent().(type) {
		case *pb.ProcessEvent_Start:
			x.pid = e.Start.GetPid()
			if req.Stdin != nil {
				go x.feed(ctx, req.Stdin)
			}
		case *pb.ProcessEvent_Data:
			if err := x.write(e.Data); err != nil {
				x.kill(ctx)
				return -1, err
			}
		case *pb.ProcessEvent_End:
			return exitCode(e.End)
		}
	}
	if ctx.Err() != nil {
		x.kill(ctx)
		return -1, context.Cause(ctx)
	}
	if err := stream.Err(); err != nil {
		return -1, err
	}
	return -1, errors.New("stream ended before the command: the path to the sandbox broke")
}

func startRequest(req ExecRequest) *pb.StartRequest {
	cfg := &pb.ProcessConfig{Cmd: req.Cmd, Args: req.Args, Envs: req.Env}
	if req.Cwd != "" {
		cfg.Cwd = &req.Cwd
	}
	stdin := req.Stdin != nil
	return &pb.StartRequest{Process: cfg, Stdin: &stdin}
}

func exitCode(end *pb.ProcessEvent_EndEvent) (int, error) {
	if !end.GetExited() {
		return -1, errors.New(end.GetStatus())
	}
	return int(end.GetExitCode()), nil
}

// execution is one command under way.
type execution struct {
	client         *Client
	rpc            pb.ProcessClient
	user           string
	pid            uint32 // 0 until it has started
	stdout, stderr io.Writer
}

// request adds the headers that every call of an execution carries.
func request[T any](x execution, msg *T) *connect.Request[T] {
	req := connect.NewRequest(msg)
	maps.Copy(req.Header(), x.client.Header)
	req.Header().Set("Keepalive-Ping-Interval", keepaliveSeconds)
	if x.user != "" {
		req.Header().Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(x.user+":")))
	}
	return req
}

func (x execution) write(data *pb.ProcessEvent_DataEvent) (err error) {
	if b := data.GetStdout(); len(b) > 0 {
		_, err = x.stdout.Write(b)
	}
	if b := data.GetStderr(); len(b) > 0 {
		_, err = x.stderr.Write(b)
	}
	return err
}

func (x execution) selector() *pb.ProcessSelector {
	return &pb.ProcessSelector{Selector: &pb.ProcessSelector_Pid{Pid: x.pid}}
}

// feed copies stdin until its end, the command's end, or ctx's. A command that
// takes no more input is not an error: its exit code says what it made of it.
func (x execution) feed(ctx context.Context, stdin io.Reader) {
	buf := make([]byte, 32<<10)
	for {
		n, err := stdin.Read(buf)
		if n > 0 {
			in := &pb.ProcessInput{Input: &pb.ProcessInput_Stdin{Stdin: buf[:n]}}
			msg := &pb.SendInputRequest{Process: x.selector(), Input: in}
			if _, err := x.rpc.SendInput(ctx, request(x, msg)); err != nil {
				return
			}
		}
		if err != nil {
			_, _ = x.rpc.CloseStdin(ctx, request(x, &pb.CloseStdinRequest{Process: x.selector()}))
			return
		}
	}
}

// kill ends the command for a caller that has given up on it, as well as the
// path allows.
func (x execution) kill(ctx context.Context) {
	if x.pid == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), killWithin)
	defer cancel()
	msg := &pb.SendSignalRequest{Process: x.selector(), Signal: pb.Signal_SIGNAL_SIGKILL}
	_, _ = x.rpc.SendSignal(ctx, request(x, msg))
}

// process returns the service's client. It speaks protobuf, where E2B's speak
// JSON: an emulated guest is half as fast again or more without the base64.
func (c *Client) process() pb.ProcessClient {
	h := c.client()
	h.Transport = badGateway{h.Transport}
	return pb.NewProcessClient(h, strings.TrimSuffix(c.BaseURL, "/"), connect.WithReadMaxBytes(maxMessage))
}

// badGateway turns a proxy's 502 into an error that says what the proxy said:
// Connect would keep the status alone.
type badGateway struct{ next http.RoundTripper }

func (t badGateway) RoundTrip(r *http.Request) (*http.Response, error) {
	next := t.next
	if next == nil {
		next = http.DefaultTransport
	}
	resp, err := next.RoundTrip(r)
	if err != nil || resp.StatusCode != http.StatusBadGateway {
		return resp, err
	}
	defer resp.Body.Close()
	return nil, statusError(resp)
}
