package dashboards

import "github.com/grafana/grafana-foundation-sdk/go/dashboard"

// Fleet is the overview of all hosts: how many paths are broken, of how many, whose, since
// when, and where.
func Fleet() dashboard.Dashboard {
	return end(begin(fleetUID, "Tapwatch / Fleet", "The paths to all sandboxes: how many are broken, which, at which hop, and since when."),
		row{height: 4, panels: overview()},
		row{height: 9, panels: []dashboard.Panel{findings(), worst()}},
		row{height: 8, panels: []dashboard.Panel{pathStates(), findingsOverTime(), requestsByOutcome()}},
		row{title: "Latency", height: 8, panels: []dashboard.Panel{hopLatency("0.5", "p50"), hopLatency("0.99", "p99")}},
		row{height: 8, panels: []dashboard.Panel{hopHeat("proxy"), hopHeat("relay"), hopHeat("tap"), hopHeat("envd")}},
		row{height: 8, panels: []dashboard.Panel{hopParts(), hopPartsTail(), tapConnect()}},
		row{title: "Coming and going", height: 8, panels: []dashboard.Panel{lifecycle(), bootPhases(), vmmExits()}},
		row{title: "Traffic", height: 8, panels: []dashboard.Panel{traffic(), resets(), carrierChanges(), connectFailures()}},
	)
}

func overview() []dashboard.Panel {
	return []dashboard.Panel{
		statPanel("Sandboxes", "Sandboxes on all hosts.", "short", neutral, value(`sum(tapwatch_sandboxes{SCOPE})`)),
		statPanel("Paths broken", "Sandboxes that cannot be reached, at whatever hop.", "short", from(1, "red"), value(`sum(tapwatch_sandboxes{SCOPE, state="broken"})`)),
		statPanel("Share broken", "Of the sandboxes whose path is known: neither unknown nor booting nor paused.", "percentunit", from(0.01, "red"),
			value(`sum(tapwatch_sandboxes{SCOPE, state="broken"}) / (sum(tapwatch_sandboxes{SCOPE, state=~"ok|broken"}) > 0)`)),
		// The second half makes "none" a 0 where agents answer, and nothing where none does.
		statPanel("NO-CARRIER now", "Bound sandboxes whose tap has nobody attached. Idle slots do not count: they have no carrier and are healthy.", "short", from(1, "red"),
			value(`count(tapwatch_network_carrier{SCOPE, sandbox_id!=""} == 0) or 0 * sum(tapwatch_slots{SCOPE})`)),
		statPanel("Paths unknown", "Sandboxes of which too little is known to say: neither healthy nor broken.", "short", from(1, "yellow"), value(`sum(tapwatch_sandboxes{SCOPE, state="unknown"})`)),
		statPanel("Idle slots", "Slots ready for the next sandbox.", "short", neutral, value(`sum(tapwatch_slots{SCOPE, state="idle"})`)),
		statPanel("Agents", "Agents that answer.", "short", neutral, value(`sum(up{SCOPE})`)),
		statPanel("Agents down", "Agents that Prometheus knows and cannot scrape. Their sandboxes are unknown.", "short", from(1, "red"), value(`count(up{SCOPE} == 0) or 0 * sum(up{SCOPE})`)),
	}
}

// findings joins each finding with how long it has been there.
func findings() dashboard.Panel {
	p := rows("Findings", "Every problem that is there now, the longest first. A sandbox leads to its own dashboard; each cause has a page in docs/checks.",
		[]string{"sandbox_id", "Sandbox", "name", "Name", "hop", "Hop", "code", "Cause", "severity", "Severity", "Value #B", "For", "template", "Template", "netns", "Namespace", "instance", "Agent"},
		now(`tapwatch_finding{SCOPE} INFO`), now(`time() - tapwatch_finding_since_timestamp_seconds{SCOPE}`))
	return toSandbox(column(p, "For", property("unit", "s")), "Sandbox")
}

// worst are at most 20: more lines help nobody.
func worst() dashboard.Panel {
	p := rows("Worst 20", "The sandboxes whose path is broken for longest.",
		[]string{"sandbox_id", "Sandbox", "name", "Name", "Value #A", "For", "template", "Template", "netns", "Namespace", "instance", "Agent"},
		now(`topk(20, (max by (job, instance, netns, sandbox_id) (time() - tapwatch_finding_since_timestamp_seconds{SCOPE}) and on (job, instance, netns, sandbox_id) (tapwatch_path_state{SCOPE, state="broken"} == 1)) INFO)`))
	return toSandbox(column(p, "For", property("unit", "s")), "Sandbox")
}

func pathStates() dashboard.Panel {
	p := stacked("Path state", "Sandboxes by the state of their path.", "short", series(`sum by (state) (tapwatch_sandboxes{SCOPE})`, "{{state}}"))
	for _, s := range [][2]string{{"ok", "green"}, {"broken", "red"}, {"unknown", "yellow"}, {"booting", "blue"}, {"paused", "purple"}} {
		p = colour(p, s[0], s[1])
	}
	return p
}

func findingsOverTime() dashboard.Panel {
	return stacked("Findings that came", "New problems by cause, those too that were gone before the next scrape.", "short",
		series(`sum by (code) (increase(tapwatch_findings_total{SCOPE}[$__rate_interval])) > 0 or 0 * sum(tapwatch_slots{SCOPE})`, "{{code}}"))
}

func requestsByOutcome() dashboard.Panel {
	return stacked("Requests by outcome", "What came of connects and requests to sandboxes, a second.", "reqps",
		series(`sum by (outcome) (rate(tapwatch_requests_total{SCOPE}[$__rate_interval]))`, "{{outcome}}"))
}

func hopLatency(q, name string) dashboard.Panel {
	return graph("Hop latency "+name, "Time that requests spend in each hop, both ways: proxy and relay from arrival until sent on, tap from data to its ACK, envd from the request to the answer's first byte. docs/hops.md defines them.", "s",
		series(`histogram_quantile(`+q+`, sum by (le, hop) (rate(tapwatch_hop_latency_seconds_bucket{SCOPE}[$__rate_interval])))`, "{{hop}} "+name))
}

func hopHeat(hop string) dashboard.Panel {
	return heat("Latency: "+hop, "How many requests took how long in the hop "+hop+".",
		`sum by (le) (increase(tapwatch_hop_latency_seconds_bucket{SCOPE, hop="`+hop+`"}[$__rate_interval]))`)
}

func tapConnect() dashboard.Panel {
	return heat("Connecting to guests", "How many connections took how long from SYN to SYN-ACK at the tap.",
		`sum by (le) (increase(tapwatch_tap_connect_seconds_bucket{SCOPE}[$__rate_interval]))`)
}

func hopParts() dashboard.Panel {
	return stacked("Time by part, mean", "What the time of a request consists of, on average. wait: arrived and not yet read, a proxy that gets no CPU; handle: read and not yet sent; queue: until the VMM took the frame. connect is a connection's, not each request's, and in no hop's latency.", "s",
		series(`sum by (hop, part) (rate(tapwatch_hop_part_seconds_sum{SCOPE}[$__rate_interval])) / (sum by (hop, part) (rate(tapwatch_hop_part_seconds_count{SCOPE}[$__rate_interval])) > 0)`, "{{hop}}: {{part}}"))
}

func hopPartsTail() dashboard.Panel {
	return graph("Time by part, p99", "The slowest hundredth of requests spend at least so long in each part. Parts of different requests do not add up.", "s",
		series(`histogram_quantile(0.99, sum by (le, hop, part) (rate(tapwatch_hop_part_seconds_bucket{SCOPE}[$__rate_interval])))`, "{{hop}}: {{part}}"))
}

func lifecycle() dashboard.Panel {
	return graph("Created, ended, failed", "Sandboxes that came, went and broke for the first time, and boots that did not end well.", "short",
		series(`sum(increase(tapwatch_sandboxes_created_total{SCOPE}[$__rate_interval]))`, "created"),
		series(`sum by (reason) (increase(tapwatch_sandboxes_ended_total{SCOPE}[$__rate_interval]))`, "ended: {{reason}}"),
		series(`sum by (hop) (increase(tapwatch_sandboxes_failed_total{SCOPE}[$__rate_interval]))`, "broke at {{hop}}"),
		series(`sum by (reason) (increase(tapwatch_boot_failures_total{SCOPE}[$__rate_interval]))`, "boot failed: {{reason}}"))
}

func vmmExits() dashboard.Panel {
	return graph("Ends of VMMs", "By signal, or by status where they exited, and whether their launcher wanted it.", "short",
		series(`sum by (signal, status, wanted) (increase(tapwatch_vmm_exits_total{SCOPE}[$__rate_interval])) or 0 * sum(tapwatch_slots{SCOPE})`, "{{signal}}{{status}} wanted={{wanted}}"))
}

func traffic() dashboard.Panel {
	return graph("Traffic at the taps", "Bytes a second, with link-layer headers: receive is what the guests sent.", "Bps",
		series(`sum(rate(tapwatch_network_receive_bytes_total{SCOPE}[$__rate_interval]))`, "receive"),
		series(`sum(rate(tapwatch_network_transmit_bytes_total{SCOPE}[$__rate_interval]))`, "transmit"))
}

func resets() dashboard.Panel {
	return graph("Resets", "TCP resets a second, by who sent them.", "ops",
		series(`sum by (origin) (rate(tapwatch_network_resets_total{SCOPE}[$__rate_interval]))`, "{{origin}}"))
}

func carrierChanges() dashboard.Panel {
	return graph("Carrier changes", "How often carriers came or went, counted by the kernel: also what happened between two scrapes.", "short",
		series(`sum by (instance) (increase(tapwatch_network_carrier_changes_total{SCOPE, sandbox_id!=""}[$__rate_interval]))`, "{{instance}}"))
}

func connectFailures() dashboard.Panel {
	return graph("Connect failures", "Connections of proxy and relay a second that were not established, by the hop that did not answer and by errno. GAVE_UP: the program ended the attempt.", "ops",
		series(`sum by (hop, errno) (rate(tapwatch_connect_failures_total{SCOPE}[$__rate_interval]))`, "{{hop}}: {{errno}}"))
}
