package proxy

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
)

// failure is the body of an answer that the proxy gives itself, as E2B's
// clients know it. Code repeats the status.
type failure struct {
	SandboxID string `json:"sandboxId"`
	Message   string `json:"message"`
	Code      int    `json:"code"`
	Port      int    `json:"port,omitempty"`
}

func answer(w http.ResponseWriter, status int, f failure) {
	f.Code = status
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(f) // fails only where the client has gone
}

func statusOf(err error) int {
	if errors.Is(err, ErrAmbiguous) {
		return http.StatusBadRequest
	}
	return http.StatusBadGateway
}

// explain says in one line which layer failed and why, as far as it shows here.
func explain(err error, target Target) string {
	var dial *net.OpError
	// A relay that resets at once may be seen as a dial that failed: it was there.
	dialing := errors.As(err, &dial) && dial.Op == "dial" && !errors.Is(err, syscall.ECONNRESET)
	var timeout net.Error
	timedOut := errors.As(err, &timeout) && timeout.Timeout()
	switch {
	case target.Direct && (dialing || isCut(err)):
		return explainDirect(err, dial, target)
	case dialing && errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Sprintf("nothing listens at %s: the relay of the sandbox is gone", target.Addr)
	case dialing && timedOut:
		return fmt.Sprintf("no answer from %s: the slot of the sandbox cannot be reached", target.Addr)
	case dialing:
		return fmt.Sprintf("the slot of the sandbox cannot be reached: %v", dial.Err)
	case timedOut:
		return "the sandbox took the request and did not answer it in time"
	case !isCut(err):
		return fmt.Sprintf("the sandbox's answer cannot be passed on: %v", err)
	case target.Why != nil && target.Why() != nil:
		return fmt.Sprintf("relay refused: %v", target.Why())
	default:
		return "relay refused: the connection ended before an answer came: the sandbox is not up, or nothing listens on its port"
	}
}

// explainDirect is explain where no relay stands between. Dial is nil where the
// guest took the connection.
func explainDirect(err error, dial *net.OpError, target Target) string {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Sprintf("connection refused: nothing listens on port %d in the sandbox", target.Addr.Port())
	case isCut(err):
		return "the sandbox ended the connection before an answer came"
	case target.Why != nil && target.Why() != nil:
		return fmt.Sprintf("the sandbox cannot be reached: %v: %v", dial.Err, target.Why())
	default:
		return fmt.Sprintf("the sandbox cannot be reached: %v", dial.Err)
	}
}

// isCut says whether the connection ended where an answer was due.
func isCut(err error) bool {
	for _, e := range []error{syscall.ECONNRESET, syscall.EPIPE, io.EOF, io.ErrUnexpectedEOF, net.ErrClosed} {
		if errors.Is(err, e) {
			return true
		}
	}
	// Go's word, of an unexported type, for an end that came before the request went out.
	return strings.Contains(err.Error(), "http: server closed idle connection")
}
