package dashboards

func hopParts() Panel {
	return stacked(graph("Time by part, mean", "What the time of a request consists of, on average. wait: arrived and not yet read, a proxy that gets no CPU; handle: read and not yet sent; queue: until the VMM took the frame. connect is a connection's, not each request's, and in no hop's latency.", "s",
		series(`sum by (hop, part) (rate(tapwatch_hop_part_seconds_sum{SCOPE}[$__rate_interval])) / (sum by (hop, part) (rate(tapwatch_hop_part_seconds_count{SCOPE}[$__rate_interval])) > 0)`, "{{hop}}: {{part}}")))
}

func hopPartsTail() Panel {
	return graph("Time by part, p99", "The slowest hundredth of requests spend at least so long in each part. Parts of different requests do not add up.", "s",
		series(`histogram_quantile(0.99, sum by (le, hop, part) (rate(tapwatch_hop_part_seconds_bucket{SCOPE}[$__rate_interval])))`, "{{hop}}: {{part}}"))
}

// unjoinedShare is unknown, not 0, where there were no requests.
func unjoinedShare() Panel {
	p := stat("Unjoined", "Share of requests whose two sockets in a proxy were not found to belong together: they are in no latency of that hop. A proxy's own answers are among them.", plain("blue"),
		value(`sum(rate(tapwatch_flow_unjoined_total{SCOPE}[$__rate_interval])) / (sum(rate(tapwatch_flow_unjoined_total{SCOPE}[$__rate_interval])) + sum(rate(tapwatch_flow_joined_total{SCOPE}[$__rate_interval])) > 0)`))
	p.FieldConfig.Defaults.Unit = "percentunit"
	return p
}

func joins() Panel {
	return graph("Joins", "Requests a second whose sockets in a proxy were found to belong together, by how; and those that were not, by why.", "reqps",
		series(`sum by (hop, how) (rate(tapwatch_flow_joined_total{SCOPE}[$__rate_interval]))`, "{{hop}}: {{how}}"),
		series(`sum by (hop, reason) (rate(tapwatch_flow_unjoined_total{SCOPE}[$__rate_interval]))`, "{{hop}} not: {{reason}}"))
}

func connectFailures() Panel {
	return graph("Connect failures", "Connections of proxy and relay a second that were not established, by the hop that did not answer and by errno. GAVE_UP: the program ended the attempt.", "ops",
		series(`sum by (hop, errno) (rate(tapwatch_connect_failures_total{SCOPE}[$__rate_interval]))`, "{{hop}}: {{errno}}"))
}

func connections() Panel {
	return graph("Connections", "Connections of the paths by hop, side and state: front, accepted, and back, connected. connecting: half open.", "short",
		series(`sum by (hop, side, state) (tapwatch_connections{SCOPE})`, "{{hop}} {{side}}, {{state}}"))
}
