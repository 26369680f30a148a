package metrics

import (
	"bufio"
	"compress/gzip"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/collectors/version"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/common/expfmt"
)

const (
	// scrapeTimeout ends a scrape that hangs; Prometheus itself gives up after 10 s
	// unless it is told otherwise.
	scrapeTimeout = 10 * time.Second
	// atOnce bounds the scrapes that are answered at the same time.
	atOnce = 8
)

// Registry holds what the agent exports about its host and itself, and what others
// in its process want to be exported.
func Registry(snapshot func() Snapshot, also ...prometheus.Collector) *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(also...)
	r.MustRegister(
		Collector{Snapshot: snapshot, withoutSlots: true},
		version.NewCollector("tapwatch"),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return r
}

// Handler serves everything. What one collector cannot give does not withhold
// the rest. The text formats are quick at any number of slots; the protocol
// buffer format also says when counters began.
func Handler(snapshot func() Snapshot, log *slog.Logger, also ...prometheus.Collector) http.Handler {
	host := Registry(snapshot, also...)
	slots := prometheus.NewRegistry()
	slots.MustRegister(Collector{Snapshot: snapshot, withoutHost: true})
	buffers := promhttp.HandlerFor(prometheus.Gatherers{host, slots}, promhttp.HandlerOpts{
		ErrorLog:            slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: atOnce,
		Timeout:             scrapeTimeout,
	})
	text := &textHandler{host: host, snapshot: snapshot, log: log, busy: make(chan struct{}, atOnce)}
	return promhttp.InstrumentMetricHandler(host, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch format := expfmt.NegotiateAccept(r.Header, expfmt.DefaultOpenMetricsAcceptedFormats()...); format.FormatType() {
		case expfmt.TypeTextPlain, expfmt.TypeOpenMetrics:
			text.serve(w, r, format)
		default:
			buffers.ServeHTTP(w, r)
		}
	}))
}

type textHandler struct {
	host     prometheus.Gatherer
	snapshot func() Snapshot
	log      *slog.Logger
	busy     chan struct{}
}

func (h *textHandler) serve(w http.ResponseWriter, r *http.Request, format expfmt.Format) {
	select {
	case h.busy <- struct{}{}:
		defer func() { <-h.busy }()
	default:
		http.Error(w, "too many scrapes at once", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", string(format))
	to := io.Writer(w)
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		w.Header().Set("Content-Encoding", "gzip")
		z, _ := gzip.NewWriterLevel(w, gzip.BestSpeed) // fails for a wrong level only
		defer z.Close()
		to = z
	}
	b := bufio.NewWriterSize(to, 64<<10)
	if err := h.write(b, format); err != nil {
		h.log.Debug("write metrics: the scraper has gone", "err", err)
	}
}

func (h *textHandler) write(b *bufio.Writer, format expfmt.Format) error {
	families, err := h.host.Gather()
	if err != nil {
		h.log.Warn("some metrics are missing", "err", err)
	}
	enc := expfmt.NewEncoder(b, format)
	for _, f := range families {
		if err := enc.Encode(f); err != nil {
			return err
		}
	}
	if err := writeSlots(b, h.snapshot(), format.FormatType() == expfmt.TypeOpenMetrics); err != nil {
		return err
	}
	if c, ok := enc.(expfmt.Closer); ok { // OpenMetrics has an end
		if err := c.Close(); err != nil {
			return err
		}
	}
	return b.Flush()
}
