package proxy

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"syscall"

	"tapwatch/internal/sandbox/stream"
)

// failure is the body of an answer that the proxy gives itself, as E2B's
// clients know it. Code repeats the status.
type failure struct {
	SandboxID string `json:"sandboxId"`
	Message   string `json:"message"`
	Code      int    `json:"code"`
	Port      int    `json:"port,omitempty"`
}

// answer is a whole answer, the last one on its connection.
func answer(status int, f failure, toHead bool) []byte {
	f.Code = status
	body, _ := json.Marshal(f) // of strings and numbers
	body = append(body, '\n')
	b := fmt.Appendf(nil, "HTTP/1.1 %d %s\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: %d\r\nConnection: close\r\n\r\n",
		status, http.StatusText(status), len(body))
	if toHead {
		return b
	}
	return append(b, body...)
}

func statusOf(err error) int {
	if errors.Is(err, ErrAmbiguous) {
		return http.StatusBadRequest
	}
	return http.StatusBadGateway
}

// explain says in one line which layer failed and why, as far as it shows here.
func explain(err error, target Target) string {
	// A relay that resets at once may be seen as one not reached: it was there.
	dialing := errors.Is(err, stream.ErrUnreached) && !errors.Is(err, syscall.ECONNRESET)
	silent := errors.Is(err, os.ErrDeadlineExceeded)
	switch {
	case silent:
		return "the sandbox took the request and did not answer it in time"
	case target.Direct:
		return explainDirect(err, dialing, target)
	case dialing && errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Sprintf("nothing listens at %s: the relay of the sandbox is gone", target.Addr)
	case dialing && errors.Is(err, syscall.ETIMEDOUT):
		return fmt.Sprintf("no answer from %s: the slot of the sandbox cannot be reached", target.Addr)
	case dialing:
		return fmt.Sprintf("the slot of the sandbox cannot be reached: %v", cause(err))
	case target.Why != nil && target.Why() != nil:
		return fmt.Sprintf("relay refused: %v", target.Why())
	default:
		return "relay refused: the connection ended before an answer came: the sandbox is not up, or nothing listens on its port"
	}
}

// explainDirect is explain where no relay stands between.
func explainDirect(err error, dialing bool, target Target) string {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Sprintf("connection refused: nothing listens on port %d in the sandbox", target.Addr.Port())
	case !dialing:
		return "the sandbox ended the connection before an answer came"
	case target.Why != nil && target.Why() != nil:
		return fmt.Sprintf("the sandbox cannot be reached: %v: %v", cause(err), target.Why())
	default:
		return fmt.Sprintf("the sandbox cannot be reached: %v", cause(err))
	}
}

// cause is the kernel's own word in an error, if it has one.
func cause(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}
