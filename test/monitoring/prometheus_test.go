package monitoring

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"sync"
	"testing"
	"time"
)

// prometheus is a running one's HTTP API.
type prometheus struct{ addr string }

type labels map[string]string

func (p prometheus) get(path string, args url.Values, data any) error {
	resp, err := http.Get("http://" + p.addr + path + "?" + args.Encode())
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer := struct {
		Status, Error string
		Data          any
	}{Data: data}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return fmt.Errorf("%s: %s: %w", path, resp.Status, err)
	}
	if answer.Status != "success" {
		return fmt.Errorf("%s: %s", path, answer.Error)
	}
	return nil
}

// result is what a query returned: of each series its labels.
func (p prometheus) result(q query) ([]labels, error) {
	path, args := "/api/v1/query", url.Values{"query": {q.expr}}
	if !q.instant {
		path = "/api/v1/query_range"
		end := time.Now()
		args.Set("start", strconv.FormatInt(end.Add(-time.Minute).Unix(), 10))
		args.Set("end", strconv.FormatInt(end.Unix(), 10))
		args.Set("step", "5")
	}
	var data struct {
		Result []struct{ Metric labels }
	}
	if err := p.get(path, args, &data); err != nil {
		return nil, err
	}
	var out []labels
	for _, r := range data.Result {
		out = append(out, r.Metric)
	}
	return out, nil
}

func (p prometheus) now(expr string) ([]labels, error) {
	return p.result(query{expr: expr, instant: true})
}

// labelsOf returns every label that the metric's series have; none where there
// is no such metric.
func (p prometheus) labelsOf(metric string) (map[string]bool, error) {
	var series []labels
	if err := p.get("/api/v1/series", url.Values{"match[]": {metric}}, &series); err != nil {
		return nil, err
	}
	out := map[string]bool{}
	for _, s := range series {
		for name := range s {
			out[name] = true
		}
	}
	return out, nil
}

// webhook receives what Alertmanager sends.
type webhook struct {
	mu     sync.Mutex
	alerts []alert
}

type alert struct {
	Status      string
	Labels      labels
	Annotations labels
}

func startWebhook(t *testing.T) (*webhook, string) {
	t.Helper()
	w := &webhook{}
	s := httptest.NewServer(w)
	t.Cleanup(s.Close)
	return w, s.URL
}

func (w *webhook) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	var n struct{ Alerts []alert }
	if json.NewDecoder(r.Body).Decode(&n) != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.alerts = append(w.alerts, n.Alerts...)
}

// firing is every alert that was ever received as such.
func (w *webhook) firing() []alert {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []alert
	for _, a := range w.alerts {
		if a.Status == "firing" {
			out = append(out, a)
		}
	}
	return out
}
