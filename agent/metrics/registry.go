package metrics

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/collectors/version"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// scrapeTimeout ends a scrape that hangs; Prometheus itself gives up after 10 s
// unless it is told otherwise.
const scrapeTimeout = 10 * time.Second

// Registry holds what the agent exports about its host and itself; Gatherer adds
// what it knows of each slot.
func Registry(snapshot func() Snapshot) *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(
		Collector{Snapshot: snapshot, withoutSlots: true},
		version.NewCollector("tapwatch"),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return r
}

// Handler serves everything. What one collector cannot give does not withhold
// the rest.
func Handler(snapshot func() Snapshot, log *slog.Logger) http.Handler {
	r := Registry(snapshot)
	return promhttp.InstrumentMetricHandler(r, promhttp.HandlerFor(NewGatherer(r, snapshot), promhttp.HandlerOpts{
		ErrorLog:            slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		ErrorHandling:       promhttp.ContinueOnError,
		EnableOpenMetrics:   true,
		MaxRequestsInFlight: 8,
		Timeout:             scrapeTimeout,
	}))
}
