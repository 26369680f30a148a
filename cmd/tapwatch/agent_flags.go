package main

import (
	"errors"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"tapwatch/agent"
	"tapwatch/agent/config"
	"tapwatch/agent/diagnose"
	"tapwatch/agent/path"
	"tapwatch/agent/probe"
	"tapwatch/internal/e2b"
	"tapwatch/internal/registry"
)

// agentFlags are the flags of the agent, alone or in up. They are the one list of
// its settings: keys of the file and variables are made from them.
type agentFlags struct {
	listen, runDir, proxy, pyroscope, attachMode, templateCache string
	probeEvery, probeSilent, seriesGrace                        time.Duration
	hops, metricsDetail                                         bool
	hopsPerSandbox                                              int
	ignore                                                      config.Ignores
	checks                                                      path.Levels

	// Only of the agent alone.
	servicePort    uint16
	healthPath     string
	vmmUsers       config.Users
	groupLabelsMax int
	historyDir     string
	historyKeep    time.Duration
	historyMB      int
	logs           logFlags
}

// add defines what the agent has alone and in up.
func (f *agentFlags) add(fs *pflag.FlagSet) {
	fs.StringVar(&f.listen, "listen", "127.0.0.1:10917", "address of /metrics, the API and the page; port 0 takes a free port")
	fs.StringVar(&f.attachMode, "attach-mode", string(probe.ModeAuto), "how the agent sees the frames of taps: auto, tc, tcx or tracepoint")
	fs.StringVar(&f.templateCache, "template-cache", "", "directory of E2B's template cache, with {build}/cache/{id}/metadata.json; empty disables reading it")
	fs.DurationVar(&f.probeEvery, "probe-every", 0, "health-check sandboxes that have answered no request for this long, then at this interval (0: never)")
	fs.DurationVar(&f.probeSilent, "probe-silent", 30*time.Second, "health-check a sandbox that has had no request for this long, as a proxy would ask, then at this interval (0: never)")
	fs.DurationVar(&f.seriesGrace, "series-grace", 30*time.Second, "keep exporting a removed sandbox's counters for this long, so that the last scrape is complete (0: not at all)")
	fs.BoolVar(&f.hops, "hops", true, "measure the latency of every hop; costs every packet of the host some nanoseconds")
	fs.IntVar(&f.hopsPerSandbox, "hops-per-sandbox", 0, "export per-sandbox latency histograms for at most N sandboxes (4 each)")
	fs.BoolVar(&f.metricsDetail, "metrics-detail", false, "export all metrics of each sandbox, some 70 series, instead of at most 25 (docs/metrics.md says which)")
	fs.StringVar(&f.pyroscope, "pyroscope", "", "URL of the Pyroscope server that gets profiles of this process; empty disables it")
	fs.Var(&f.ignore, "ignore", "do not watch taps that fit: netns=, device= or holder= with a pattern, joined by commas, e.g. device=tailscale*; may be repeated")
	for _, c := range []struct {
		name, makes string
		codes       *[]string
	}{
		{"checks-off", "do not run these checks", &f.checks.Off},
		{"checks-warn", "what these checks find is a warning at most", &f.checks.Warn},
		{"checks-info", "what these checks find is info at most", &f.checks.Info},
	} {
		fs.Var((*checkCodes)(c.codes), c.name, c.makes+", by their codes, e.g. no-egress; joined by commas")
		config.MarkLive(fs, c.name)
	}
	config.Check(fs, "listen", listenAddress)
	config.OneOf(fs, "attach-mode", string(probe.ModeAuto), string(probe.ModeTC), string(probe.ModeTCX), string(probe.ModeTracepoint))
	config.Check(fs, "pyroscope", webAddress)
	for _, name := range []string{"probe-every", "probe-silent", "series-grace", "hops-per-sandbox"} {
		config.Check(fs, name, config.NotNegative)
	}
	config.MarkLive(fs, "ignore")
}

// addAlone defines all flags of the agent as a command.
func (f *agentFlags) addAlone(fs *pflag.FlagSet) {
	f.add(fs)
	fs.StringVar(&f.runDir, "run-dir", registry.DefaultDir, "directory of the launchers' records and of the agent's own notes")
	fs.StringVar(&f.proxy, "proxy", "", "address and port where the proxy listens; empty: not known")
	fs.Uint16Var(&f.servicePort, "service-port", e2b.EnvdPort, "TCP port in the guest that the paths lead to; E2B's envd listens on 49983")
	fs.StringVar(&f.healthPath, "health-path", "/health", "path of the HTTP request that health-checks the service in the guest")
	fs.Var(&f.vmmUsers, "vmm-users", "users beside root that run VMMs, as names or uids, joined by commas; the agent believes the command lines of their processes")
	fs.IntVar(&f.groupLabelsMax, "group-labels-max", 100, "export at most N different values of each label that rules set, such as team")
	fs.StringVar(&f.historyDir, "history-dir", "/var/lib/tapwatch/history", "directory where the history of sandboxes is kept across restarts; empty: in memory only, for an hour")
	fs.DurationVar(&f.historyKeep, "history-keep", 7*24*time.Hour, "keep the history for this long")
	fs.IntVar(&f.historyMB, "history-max-mb", 256, "keep at most this many MB of history; the oldest is removed first")
	config.Check(fs, "history-keep", config.NotNegative)
	config.Check(fs, "history-max-mb", atLeastOne)
	config.Check(fs, "proxy", config.AddrPort)
	config.Check(fs, "service-port", portNumber)
	config.Check(fs, "health-path", urlPath)
	config.Check(fs, "group-labels-max", config.NotNegative)
	config.MarkLive(fs, "vmm-users", "group-labels-max")
}

// define defines every setting of the agent on a fresh set, those of the root
// command too.
func (f *agentFlags) define(fs *pflag.FlagSet) {
	f.addAlone(fs)
	f.logs.add(fs)
	config.MarkLive(fs, "log-level")
}

// loadAgent reads the agent's settings from all their sources.
func loadAgent(l config.Loader) (*agentFlags, *config.Config, error) {
	f := new(agentFlags)
	fs := pflag.NewFlagSet("agent", pflag.ContinueOnError)
	f.define(fs)
	c, err := l.Load(fs)
	if err == nil {
		err = diagnose.Validate(f.checks)
	}
	return f, c, err
}

func (f *agentFlags) config() (agent.Config, error) {
	var proxy netip.AddrPort // the zero value: not known
	if f.proxy != "" {
		var err error
		if proxy, err = netip.ParseAddrPort(f.proxy); err != nil {
			return agent.Config{}, usagef("--proxy %q: must be an address and port like 127.0.0.1:49983", f.proxy)
		}
	}
	grace := f.seriesGrace
	if grace == 0 {
		grace = -1 // of the agent's Config, where zero is its default
	}
	return agent.Config{
		Listen: f.listen, RunDir: f.runDir, Proxy: proxy, TemplateCache: f.templateCache, ProbeEvery: f.probeEvery, ProbeSilent: f.probeSilent,
		AttachMode: probe.Mode(f.attachMode), SeriesGrace: grace, NoHops: !f.hops, HopsPerSandbox: f.hopsPerSandbox, MetricsDetail: f.metricsDetail,
		HistoryDir: f.historyDir, HistoryKeep: f.historyKeep, HistoryBytes: int64(f.historyMB) << 20,
		Rules: agent.Rules{Ignore: f.ignore, Checks: f.checks},
	}, nil
}

func listenAddress(value string) error {
	if _, port, err := net.SplitHostPort(value); err != nil || port == "" {
		return errors.New("must be an address and port like 127.0.0.1:10917")
	}
	return nil
}

func webAddress(value string) error {
	if u, err := url.Parse(value); value != "" && (err != nil || u.Scheme == "" || u.Host == "") {
		return errors.New("must be a URL like http://127.0.0.1:4040")
	}
	return nil
}

func atLeastOne(value string) error {
	if n, err := strconv.Atoi(value); err != nil || n < 1 {
		return errors.New("must be 1 or more")
	}
	return nil
}

func portNumber(value string) error {
	if value == "0" {
		return errors.New("must be a port from 1 to 65535")
	}
	return nil
}

func urlPath(value string) error {
	if !strings.HasPrefix(value, "/") || strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return errors.New("must be a path like /health")
	}
	return nil
}
