package dashboards

import "github.com/grafana/grafana-foundation-sdk/go/dashboard"

// Agent is how the agents themselves fare: what they cost, what they lose, what they lack.
func Agent() dashboard.Dashboard {
	b := begin(agentUID, "Tapwatch / Agent", "The agents themselves: what they cost, what they lose, and how old their knowledge is. Profiles: Pyroscope, where --pyroscope names one.")
	return end(b,
		row{height: 4, panels: []dashboard.Panel{
			statPanel("Not in sync", "Agents that lost messages of the kernel and have not read all links again.", "short", from(1, "red"), value(`count(tapwatch_netlink_synced{SCOPE} == 0) or 0 * sum(tapwatch_netlink_synced{SCOPE})`)),
			statPanel("Events lost", "Events that slow readers missed in the last hours.", "short", from(1, "yellow"), value(`sum(increase(tapwatch_events_lost_total{SCOPE}[$__rate_interval]))`)),
			statPanel("Hooks that failed", "Attachments of hooks that failed lately.", "short", from(1, "red"), value(`sum(increase(tapwatch_probe_attach_errors_total{SCOPE}[$__rate_interval])) or 0 * sum(tapwatch_slots{SCOPE})`)),
			statPanel("Features missing", "What the kernels and the agents' privileges do not allow, of all agents.", "short", from(1, "yellow"), value(`count(tapwatch_capability{SCOPE} == 0) or 0 * sum(tapwatch_capability{SCOPE})`)),
			unjoinedShare(),
		}},
		row{height: 8, panels: []dashboard.Panel{
			graph("CPU", "CPU time of each agent as a share of one CPU.", "percentunit", series(`rate(process_cpu_seconds_total{SCOPE}[$__rate_interval])`, "{{instance}}")),
			graph("Memory", "What is resident of each agent.", "bytes", series(`process_resident_memory_bytes{SCOPE}`, "{{instance}}")),
			graph("CPU for each packet", "CPU time of the agent divided by the packets at the taps: the hooks' own time is the kernel's and not in it.", "s",
				series(`sum by (instance) (rate(process_cpu_seconds_total{SCOPE}[$__rate_interval])) / (sum by (instance) (rate(tapwatch_network_receive_packets_total{SCOPE}[$__rate_interval])) + sum by (instance) (rate(tapwatch_network_transmit_packets_total{SCOPE}[$__rate_interval])) > 0)`, "{{instance}}")),
		}},
		row{title: "What is asked of the kernel", height: 8, panels: []dashboard.Panel{
			graph("Age of what is known", "Time since each part of an agent last asked the kernel with success. Those that ask only when something changed rest for long.", "s", series(`max by (collector) (time() - tapwatch_collector_last_success_timestamp_seconds{SCOPE})`, "{{collector}}")),
			graph("Time of the last question", "How long each part took.", "s", series(`max by (collector) (tapwatch_collector_duration_seconds{SCOPE})`, "{{collector}}")),
			graph("Questions that failed", "By part, a second.", "ops", series(`sum by (collector) (rate(tapwatch_collector_failures_total{SCOPE}[$__rate_interval]))`, "{{collector}}")),
			netlinkHealth(),
		}},
		row{title: "Hooks and maps", height: 8, panels: []dashboard.Panel{
			graph("Devices with hooks", "By how they are attached.", "short", series(`sum by (mode) (tapwatch_probe_attached{SCOPE})`, "{{mode}}")),
			graph("Time to attach, mean", "Both directions of a device.", "s", series(`sum by (mode) (rate(tapwatch_probe_attach_duration_seconds_sum{SCOPE}[$__rate_interval])) / (sum by (mode) (rate(tapwatch_probe_attach_duration_seconds_count{SCOPE}[$__rate_interval])) > 0) or 0 * sum by (mode) (tapwatch_probe_attached{SCOPE})`, "{{mode}}")),
			joins(), connections(),
		}},
		row{title: "Scrapes and the Go runtime", height: 8, panels: []dashboard.Panel{
			graph("Time of a scrape", "As Prometheus measures it.", "s", series(`scrape_duration_seconds{SCOPE}`, "{{instance}}")),
			graph("Series of a scrape", "Samples that each scrape brought.", "short", series(`scrape_samples_scraped{SCOPE}`, "{{instance}}")),
			graph("Goroutines", "Of each agent.", "short", series(`go_goroutines{SCOPE}`, "{{instance}}")),
			graph("Heap", "Bytes in use and free for use.", "bytes", series(`go_memstats_heap_inuse_bytes{SCOPE}`, "{{instance}} in use"), series(`go_memstats_heap_idle_bytes{SCOPE}`, "{{instance}} idle")),
			graph("Open files", "File descriptors of each agent.", "short", series(`process_open_fds{SCOPE}`, "{{instance}}")),
		}},
	)
}

func netlinkHealth() dashboard.Panel {
	return graph("Messages of the kernel", "Link messages a second, and the losses and resyncs that should be rare.", "ops",
		series(`sum(rate(tapwatch_netlink_events_total{SCOPE}[$__rate_interval]))`, "messages"),
		series(`sum(rate(tapwatch_netlink_overruns_total{SCOPE}[$__rate_interval]))`, "lost (overrun)"),
		series(`sum(rate(tapwatch_netlink_resyncs_total{SCOPE}[$__rate_interval]))`, "resyncs"))
}

// unjoinedShare is unknown, not 0, where there were no requests.
func unjoinedShare() dashboard.Panel {
	return statPanel("Unjoined", "Share of requests whose two sockets in a proxy were not found to belong together: they are in no latency of that hop. A proxy's own answers are among them.", "percentunit", neutral,
		value(`sum(rate(tapwatch_flow_unjoined_total{SCOPE}[$__rate_interval])) / (sum(rate(tapwatch_flow_unjoined_total{SCOPE}[$__rate_interval])) + sum(rate(tapwatch_flow_joined_total{SCOPE}[$__rate_interval])) > 0)`))
}

func joins() dashboard.Panel {
	return graph("Joins", "Requests a second whose sockets in a proxy were found to belong together, by how; and those that were not, by why.", "reqps",
		series(`sum by (hop, how) (rate(tapwatch_flow_joined_total{SCOPE}[$__rate_interval]))`, "{{hop}}: {{how}}"),
		series(`sum by (hop, reason) (rate(tapwatch_flow_unjoined_total{SCOPE}[$__rate_interval]))`, "{{hop}} not: {{reason}}"))
}

func connections() dashboard.Panel {
	return graph("Connections", "Connections of the paths by hop, side and state: front, accepted, and back, connected. connecting: half open.", "short",
		series(`sum by (hop, side, state) (tapwatch_connections{SCOPE})`, "{{hop}} {{side}}, {{state}}"))
}
