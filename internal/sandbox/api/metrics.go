package api

import (
	"context"
	"net/http"
	"time"

	"tapwatch/internal/e2b"
	"tapwatch/internal/sandbox"
	"tapwatch/internal/sandbox/envd"
)

// usage is one sample of a sandbox's resources; sizes are in bytes.
type usage struct {
	Timestamp     time.Time `json:"timestamp"`
	TimestampUnix int64     `json:"timestampUnix"`
	CPUCount      int       `json:"cpuCount"`
	CPUUsedPct    float64   `json:"cpuUsedPct"`
	MemUsed       uint64    `json:"memUsed"`
	MemTotal      uint64    `json:"memTotal"`
	MemCache      uint64    `json:"memCache"`
	DiskUsed      uint64    `json:"diskUsed"`
	DiskTotal     uint64    `json:"diskTotal"`
}

// askWithin bounds the question to the sandbox.
const askWithin = 5 * time.Second

// metrics asks the sandbox itself, and answers with this one sample: there is
// no history here, that is Prometheus's. A sandbox that cannot be asked is an
// error, and never an empty list.
func (s *server) metrics(w http.ResponseWriter, r *http.Request) {
	sb, err := s.cfg.Manager.Get(r.PathValue("id"))
	if err != nil {
		s.fail(w, r, err)
		return
	}
	m, err := s.ask(r.Context(), sb)
	if err != nil {
		refuse(w, http.StatusBadGateway, "ask sandbox %s: %v", sb.ID, err)
		return
	}
	answer(w, http.StatusOK, []usage{{
		Timestamp: time.Unix(m.TS, 0).UTC(), TimestampUnix: m.TS,
		CPUCount: m.CPUCount, CPUUsedPct: m.CPUUsedPct,
		MemUsed: m.MemUsed, MemTotal: m.MemTotal, MemCache: m.MemCache,
		DiskUsed: m.DiskUsed, DiskTotal: m.DiskTotal,
	}})
}

// ask goes the way that clients go, less the proxy: through the relay.
func (s *server) ask(ctx context.Context, sb sandbox.Sandbox) (envd.Metrics, error) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	to, err := s.cfg.Manager.Resolve(ctx, sb.ID, e2b.EnvdPort)
	if err != nil {
		return envd.Metrics{}, err
	}
	c := envd.Client{BaseURL: "http://" + to.Addr.String(), Header: http.Header{}}
	if sb.AccessToken != "" {
		c.Header.Set(e2b.HeaderAccessToken, sb.AccessToken)
	}
	return c.Metrics(ctx)
}
