package diagnose

import (
	"fmt"
	"net/http"
	"slices"

	"tapwatch/agent/path"
)

var envdHung = Check{
	Code:      "envd-hung",
	Title:     "envd takes connections and does not answer",
	Hop:       path.Envd,
	Severity:  path.Critical,
	Inferred:  true,
	DependsOn: slices.Concat([]string{"guest-silent", "guest-no-arp", "envd-refused", "envd-no-answer"}, envdCodes, guestFaults),
	Run: func(f path.Facts) Result {
		h := f.Health
		switch {
		case h.Time.IsZero(): // nobody asks
			return notApplicable()
		case f.Requests != nil && f.Requests.Guest.Good.After(h.Time):
			return fine("answered a request " + ago(f.Now, f.Requests.Guest.Good))
		case h.Connected && h.Error != "":
			return wrong(path.Finding{
				Cause: "envd hangs: it takes connections, and does not answer GET /health" + within(h.Took),
				Evidence: []string{fmt.Sprintf("GET http://%s/health from inside %s, %s: %s", envdAt(f), where(f), ago(f.Now, h.Time), h.Error),
					"the guest's kernel took the connection, so it runs"},
				Fix: "read the guest's console (" + logs(f) + ")" + byShell(f, "see what envd does (top; ls -l /proc/$(pidof envd)/fd)"),
			})
		case h.Code >= http.StatusBadRequest:
			return wrong(path.Finding{
				Severity: path.Warning,
				Cause:    fmt.Sprintf("envd answers GET /health with %d", h.Code),
				Evidence: []string{fmt.Sprintf("asked from inside %s, %s", where(f), ago(f.Now, h.Time))},
				Fix:      "read what envd says of it on the guest's console (" + logs(f) + ")",
			})
		case h.Code == 0: // not even connected: others say why
			return notApplicable()
		}
		return fine(fmt.Sprintf("healthy (%d) %s", h.Code, ago(f.Now, h.Time)))
	},
}
