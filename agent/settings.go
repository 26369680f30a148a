package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tapwatch/agent/config"
	"tapwatch/agent/diagnose"
	"tapwatch/agent/identity"
	"tapwatch/agent/path"
	"tapwatch/agent/probe"
	"tapwatch/internal/e2b"
	"tapwatch/internal/registry"
)

// Config says what to watch and where to answer; the zero value is right for a
// host.
type Config struct {
	Listen string // of /metrics and the API; empty means 127.0.0.1:10917
	RunDir string // of the launcher's records and our own notes; empty means registry.DefaultDir
	// Proxy is where the proxy is expected. The zero value means that nobody knows: it
	// is looked for at 127.0.0.1:49983, and is unknown where it was never seen.
	Proxy netip.AddrPort
	// ServicePort is where the daemon in every guest listens; 0 means 49983.
	ServicePort uint16
	// HealthPath is what that daemon is asked for its health at; empty means /health.
	HealthPath string
	// Every is the time between two readings of counters and listeners; 0 means 1 s.
	// Carrier is not read: the kernel reports it.
	Every time.Duration
	// SeriesGrace is how long the counters of a sandbox's tap are exported after it has
	// gone, so that a scrape sees their last values; 0 means 30 s, below 0 not at all.
	SeriesGrace time.Duration
	// TemplateCache is where E2B's orchestrator keeps what it resumes from; empty:
	// it is not looked at.
	TemplateCache string
	// AttachMode is how the frames of taps are seen; empty means probe.ModeAuto.
	AttachMode probe.Mode
	// ProbeEvery is how long a sandbox must have answered no real request until its
	// envd is asked for its health, from inside its namespace and through the proxy,
	// and how often then; 0 means never.
	ProbeEvery time.Duration
	// ProbeSilent is how long nobody must have asked a sandbox for anything until the
	// agent asks once for its envd's health, as proxies ask, and how often then; 0 means
	// never.
	ProbeSilent time.Duration
	// NoHops leaves the latency of hops unmeasured, which costs every packet of the
	// host some nanoseconds.
	NoHops bool
	// HopsPerSandbox is how many sandboxes get latencies of their own; 0 means none.
	HopsPerSandbox int
	// MetricsDetail exports of each sandbox all that there is, instead of 25 series at
	// most.
	MetricsDetail bool
	// HistoryDir is where what happened to sandboxes is kept across restarts, for
	// HistoryKeep (0: seven days) and in HistoryBytes at most (0: 256 MiB); empty means
	// in memory only.
	HistoryDir   string
	HistoryKeep  time.Duration
	HistoryBytes int64
	// DropPrivileges gives up, once started, every capability that the mode does
	// not use: for a process that is the agent and nothing else.
	DropPrivileges bool
	// E2B is the addresses that E2B's orchestrator gives its slots; zero means its
	// default.
	E2B e2b.Plan
	Rules
	// Also is exported beside what the agent knows: what others in this process have
	// counted.
	Also []prometheus.Collector
	Log  *slog.Logger // nil means slog.Default

	set  *identity.Set // of Rules
	once bool          // for one look, without hooks
}

// Rules are what the operator says of sandboxes. They may be replaced while the agent
// runs.
type Rules struct {
	Identity []identity.Rule // before those of known launchers
	// Since is when the durations of silences began, for rules that give one.
	Since    time.Time
	VMMUsers []uint32 // users besides root whose processes are believed to be VMMs
	Ignore   []config.Ignore
	Silence  []config.Silence
	// LabelValues is how many values of one label are exported; 0 means 100.
	LabelValues int
	Checks      path.Levels // what is switched off or demoted
}

// compile makes the rules ready for use.
func (r Rules) compile() (*identity.Set, error) {
	if err := diagnose.Validate(r.Checks); err != nil {
		return nil, err
	}
	return identity.Compile(r.Identity, identity.Options{VMMUsers: r.VMMUsers, Since: r.Since})
}

// seriesGrace is how long the counters of what has gone are exported, where Config
// does not say.
const seriesGrace = 30 * time.Second

func (c *Config) fill() (err error) {
	if c.Every < 0 || c.ProbeEvery < 0 || c.ProbeSilent < 0 {
		return errors.New("agent: the time between readings must not be negative")
	}
	if c.HopsPerSandbox < 0 {
		return errors.New("agent: the number of sandboxes with latencies of their own must not be negative")
	}
	if c.Listen == "" {
		c.Listen = "127.0.0.1:10917"
	}
	if c.RunDir == "" {
		c.RunDir = registry.DefaultDir
	}
	if c.ServicePort == 0 {
		c.ServicePort = e2b.EnvdPort
	}
	if c.HealthPath == "" {
		c.HealthPath = "/health"
	}
	if c.SeriesGrace == 0 {
		c.SeriesGrace = seriesGrace
	}
	if c.Every == 0 {
		c.Every = time.Second
	}
	if c.E2B == (e2b.Plan{}) {
		c.E2B = e2b.DefaultPlan()
	}
	if c.LabelValues == 0 {
		c.LabelValues = 100
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.set, err = c.compile(); err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	return nil
}

// proxy is where to look for the proxy.
func (c *Config) proxy() netip.AddrPort {
	if c.Proxy.IsValid() {
		return c.Proxy
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), e2b.EnvdPort)
}
