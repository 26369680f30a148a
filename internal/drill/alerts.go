package drill

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// alertTime bounds the wait for an alert: the rules wait 10 s, Prometheus
// evaluates them every 15 s, and Alertmanager is asked every alertEvery.
const (
	alertTime  = 2 * time.Minute
	alertEvery = 500 * time.Millisecond
)

// Alertmanager is asked over its API which alerts it holds.
type Alertmanager struct{ URL string }

// alert is as much of Alertmanager's answer as is needed.
type alert struct {
	Labels map[string]string `json:"labels"`
}

// alerted waits for an alert that names the sandbox.
func (w *World) alerted(ctx context.Context, b *Box, made time.Time, r *Result) error {
	ctx, cancel := context.WithTimeout(ctx, alertTime)
	defer cancel()
	for {
		names, err := w.Alerts.firing(ctx, b.ID)
		if err == nil && names != "" {
			r.Alert, r.AlertSeconds = names, time.Since(made).Seconds()
			return nil
		}
		select {
		case <-ctx.Done():
			if err == nil {
				err = fmt.Errorf("no alert for it within %v", alertTime)
			}
			return err
		case <-time.After(alertEvery):
		}
	}
}

// firing returns the names of the alerts of that sandbox, by commas.
func (a *Alertmanager) firing(ctx context.Context, id string) (string, error) {
	at := strings.TrimSuffix(a.URL, "/") + "/api/v2/alerts?filter=" + url.QueryEscape(`sandbox_id="`+id+`"`)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return "", fmt.Errorf("ask Alertmanager: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", fmt.Errorf("ask Alertmanager: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("ask Alertmanager: %s: %s", at, resp.Status)
	}
	var alerts []alert
	if err := json.NewDecoder(resp.Body).Decode(&alerts); err != nil {
		return "", fmt.Errorf("ask Alertmanager: %w", errors.New("its answer is not the API's, version 2"))
	}
	var names []string
	for _, al := range alerts {
		names = append(names, al.Labels["alertname"])
	}
	return strings.Join(names, ","), nil
}
