package dashboards

func hopLatency() Panel {
	quantile := func(q, legend string) Target {
		return series(`histogram_quantile(`+q+`, sum by (le, hop) (rate(tapwatch_hop_latency_seconds_bucket{SCOPE}[$__rate_interval])))`, legend)
	}
	return graph("Hop latency", "Time that requests spend in each hop, both ways: proxy and relay from arrival until sent on, tap from data to its ACK, envd from the request to the answer's first byte. docs/hops.md defines them.", "s",
		quantile("0.5", "{{hop}} p50"), quantile("0.9", "{{hop}} p90"), quantile("0.99", "{{hop}} p99"))
}

func tapLatency() Panel {
	return heatmap("Latency at the tap", "How many requests took how long through the tap: host kernel, VMM, guest kernel.",
		`sum by (le) (increase(tapwatch_hop_latency_seconds_bucket{SCOPE, hop="tap"}[$__rate_interval]))`)
}

func tapConnect() Panel {
	return heatmap("Connecting to guests", "How many connections took how long from SYN to SYN-ACK at the tap.",
		`sum by (le) (increase(tapwatch_tap_connect_seconds_bucket{SCOPE}[$__rate_interval]))`)
}

func traffic() Panel {
	return graph("Traffic at the taps", "Bytes a second, with link-layer headers: receive is what the guests sent.", "Bps",
		series(`sum(rate(tapwatch_network_receive_bytes_total{SCOPE}[$__rate_interval]))`, "receive"),
		series(`sum(rate(tapwatch_network_transmit_bytes_total{SCOPE}[$__rate_interval]))`, "transmit"))
}

func resets() Panel {
	return graph("Resets and refusals", "Connections reset, and requests that were not answered well, by what came of them.", "ops",
		series(`sum by (direction) (rate(tapwatch_network_resets_total{SCOPE}[$__rate_interval]))`, "reset, {{direction}}"),
		series(`sum by (outcome) (rate(tapwatch_requests_total{SCOPE, outcome!~"answered|unused"}[$__rate_interval]))`, "request {{outcome}}"))
}

func carrierChanges() Panel {
	return graph("Carrier changes", "How often carriers came or went, counted by the kernel: also what happened between two scrapes.", "short",
		series(`sum by (instance) (increase(tapwatch_network_carrier_changes_total{SCOPE, sandbox_id!=""}[$__rate_interval]))`, "{{instance}}"))
}

// sandboxes joins what is known of each sandbox into one line. The queries share
// the labels job, instance, netns and sandbox_id, on which "merge" joins them.
func sandboxes() Panel {
	p := panel("table", "Sandboxes", "Every sandbox with the state of its path. An empty cell is unknown.", "short",
		now(`(tapwatch_path_state{SCOPE, sandbox_id=~"$sandbox"} == 1) * on (job, instance, netns, sandbox_id) group_left (name, template, device, source, shape) tapwatch_sandbox_info{SCOPE}`),
		now(`max by (job, instance, netns, sandbox_id) (tapwatch_network_carrier{SCOPE, sandbox_id=~"$sandbox"})`),
		now(`max by (job, instance, netns, sandbox_id) (tapwatch_tap_holders{SCOPE, sandbox_id=~"$sandbox"})`),
		now(`time() - max by (job, instance, netns, sandbox_id) (tapwatch_sandbox_created_timestamp_seconds{SCOPE, sandbox_id=~"$sandbox"})`))
	p.Transformations = []Transformation{
		{ID: "merge", Options: map[string]any{}},
		{ID: "organize", Options: map[string]any{
			"excludeByName": map[string]bool{"Time": true, "job": true, "Value #A": true},
			"renameByName": map[string]string{
				"sandbox_id": "Sandbox", "name": "Name", "state": "Path", "template": "Template", "netns": "Namespace",
				"device": "Device", "instance": "Agent", "source": "Source", "shape": "Shape",
				"Value #B": "Carrier", "Value #C": "Holders of the tap", "Value #D": "Age",
			},
			"indexByName": map[string]int{
				"name": 0, "sandbox_id": 1, "state": 2, "Value #B": 3, "Value #C": 4, "Value #D": 5,
				"template": 6, "netns": 7, "device": 8, "instance": 9, "source": 10, "shape": 11,
			},
		}},
	}
	p.FieldConfig.Overrides = []Override{
		column("Carrier", Property{ID: "mappings", Value: carrierWords()}, coloured),
		column("Path", Property{ID: "mappings", Value: pathWords()}, coloured),
		column("Age", Property{ID: "unit", Value: "s"}),
	}
	return p
}

var coloured = Property{ID: "custom.cellOptions", Value: map[string]string{"type": "color-text"}}

func column(name string, properties ...Property) Override {
	return Override{Matcher: Matcher{ID: "byName", Options: name}, Properties: properties}
}

func pathWords() []Mapping {
	return []Mapping{{Type: "value", Options: map[string]Display{
		"ok":      {Text: "ok", Color: "green", Index: 0},
		"broken":  {Text: "broken", Color: "red", Index: 1},
		"unknown": {Text: "unknown", Color: "yellow", Index: 2},
		"booting": {Text: "booting", Color: "blue", Index: 3},
		"paused":  {Text: "paused", Color: "purple", Index: 4},
	}}}
}

func netlinkHealth() Panel {
	return graph("Messages of the kernel", "Link messages a second, and the losses and resyncs that should be rare.", "ops",
		series(`sum(rate(tapwatch_netlink_events_total{SCOPE}[$__rate_interval]))`, "messages"),
		series(`sum(rate(tapwatch_netlink_overruns_total{SCOPE}[$__rate_interval]))`, "lost (overrun)"),
		series(`sum(rate(tapwatch_netlink_resyncs_total{SCOPE}[$__rate_interval]))`, "resyncs"))
}

func agentCost() Panel {
	p := graph("Cost of the agents", "CPU time of each agent as a share of one CPU.", "percentunit",
		series(`rate(process_cpu_seconds_total{SCOPE}[$__rate_interval])`, "{{instance}} CPU"),
		series(`process_resident_memory_bytes{SCOPE}`, "{{instance}} memory"))
	p.Description += " Memory, on the right, is what is resident."
	p.FieldConfig.Overrides = append(p.FieldConfig.Overrides, Override{
		Matcher:    Matcher{ID: "byRegexp", Options: ".* memory"},
		Properties: []Property{{ID: "unit", Value: "bytes"}, {ID: "custom.axisPlacement", Value: "right"}},
	})
	return p
}
