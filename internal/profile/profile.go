// Package profile sends continuous profiles of this process to a Pyroscope
// server, where the operator asks for it.
package profile

import (
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"github.com/grafana/pyroscope-go"
)

// Start begins to send profiles to the server at addr under a service name, and
// returns the function that stops it. An empty addr does nothing. A server that
// cannot be reached is logged at debug level and never touches the process.
func Start(addr, service string, log *slog.Logger) (stop func(), err error) {
	if addr == "" {
		return func() {}, nil
	}
	if u, err := url.Parse(addr); err != nil || u.Scheme == "" || u.Host == "" {
		return nil, fmt.Errorf("--pyroscope %q: must be a URL like http://127.0.0.1:4040", addr)
	}
	p, err := pyroscope.Start(pyroscope.Config{
		ApplicationName: service,
		ServerAddress:   addr,
		UploadRate:      15 * time.Second,
		Logger:          logger{log},
		ProfileTypes: []pyroscope.ProfileType{
			pyroscope.ProfileCPU,
			pyroscope.ProfileInuseSpace,
			pyroscope.ProfileInuseObjects,
			pyroscope.ProfileGoroutines,
		},
	})
	if err != nil {
		return nil, fmt.Errorf("start profiles: %w", err)
	}
	return func() { _ = p.Stop() }, nil // it only fails when it was stopped before
}

// logger keeps the uploader's words below the agent's own.
type logger struct{ log *slog.Logger }

func (l logger) Infof(f string, a ...any)  { l.log.Debug(fmt.Sprintf(f, a...)) }
func (l logger) Debugf(f string, a ...any) { l.log.Debug(fmt.Sprintf(f, a...)) }
func (l logger) Errorf(f string, a ...any) { l.log.Debug(fmt.Sprintf(f, a...)) }
