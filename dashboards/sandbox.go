package dashboards

import (
	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// Sandbox is all that is known of one sandbox.
func Sandbox() dashboard.Dashboard {
	b := begin(sandboxUID, "Tapwatch / Sandbox", "The path to one sandbox: its hops, its carrier, what came of its requests, and what was lost.",
		one("sandbox", "Sandbox", `label_values(tapwatch_sandbox_info{job=~"$job", instance=~"$instance"}, sandbox_id)`)).
		Annotations([]cog.Builder[dashboard.AnnotationQuery]{
			annotation("Finding", "red", `tapwatch_finding{ONE}`, "{{hop}}: {{code}}"),
			annotation("Carrier changed", "orange", `changes(tapwatch_network_carrier{ONE}[$__rate_interval]) > 0`, "{{device}}"),
		})
	return end(b,
		row{height: 5, panels: []dashboard.Panel{about()}},
		row{height: 7, panels: []dashboard.Panel{hopStates(), carrier()}},
		row{height: 7, panels: []dashboard.Panel{ownFindings(), outcomes()}},
		row{title: "Traffic", height: 8, panels: []dashboard.Panel{ownTraffic(), drops(), ownResets(), retransmissions()}},
		row{title: "Boot, of all sandboxes of these agents", height: 8, panels: []dashboard.Panel{bootPhases()}},
	)
}

func about() dashboard.Panel {
	p := rows("The sandbox", "What is known of it. An empty cell is unknown.",
		[]string{"name", "Name", "sandbox_id", "Sandbox", "state", "Path", "Value #B", "Carrier", "Value #C", "Holders of the tap", "Value #D", "Age", "template", "Template", "build_id", "Build", "netns", "Namespace", "device", "Device", "instance", "Agent", "source", "Source", "shape", "Shape"},
		now(`(tapwatch_path_state{ONE} == 1) * on (job, instance, netns, sandbox_id) group_left (name, template, build_id, device, source, shape) tapwatch_sandbox_info{SCOPE}`),
		now(`max by (job, instance, netns, sandbox_id) (tapwatch_network_carrier{ONE})`),
		now(`max by (job, instance, netns, sandbox_id) (tapwatch_tap_holders{ONE})`),
		now(`time() - max by (job, instance, netns, sandbox_id) (tapwatch_sandbox_created_timestamp_seconds{ONE})`))
	p = column(p, "Carrier", property("mappings", carrierWords), inColour)
	p = column(p, "Path", property("mappings", pathWords), inColour)
	return column(p, "Age", property("unit", "s"))
}

func hopStates() dashboard.Panel {
	return timeline("Hops", "Each hop of the path. A gap is unknown: nobody looked, it boots, or the path is broken before it.", hopWords,
		series(`max by (hop) (tapwatch_path_up{ONE})`, "{{hop}}"))
}

func carrier() dashboard.Panel {
	return timeline("Carrier", "Carrier of its taps. A gap is unknown: the agent did not say.", carrierWords, series(`tapwatch_network_carrier{ONE}`, "{{netns}} {{device}}"))
}

func ownFindings() dashboard.Panel {
	p := rows("Findings", "What is wrong with it now. The row without a cause is there where nothing is.",
		[]string{"hop", "Hop", "code", "Cause", "Value #A", "For", "netns", "Namespace", "instance", "Agent", "sandbox_id", "Sandbox"},
		now(`time() - tapwatch_finding_since_timestamp_seconds{ONE} or 0 * tapwatch_sandbox_created_timestamp_seconds{ONE}`))
	return column(p, "For", property("unit", "s"))
}

func outcomes() dashboard.Panel {
	return stacked("Requests by outcome", "What came of connects and requests to it, a second.", "reqps", series(`sum by (outcome) (rate(tapwatch_requests_total{ONE}[$__rate_interval]))`, "{{outcome}}"))
}

func ownTraffic() dashboard.Panel {
	return graph("Traffic", "Bytes a second at its taps, with link-layer headers: receive is what the guest sent.", "Bps",
		series(`sum(rate(tapwatch_network_receive_bytes_total{ONE}[$__rate_interval]))`, "receive"),
		series(`sum(rate(tapwatch_network_transmit_bytes_total{ONE}[$__rate_interval]))`, "transmit"))
}

func drops() dashboard.Panel {
	return graph("Drops by reason", "Frames to the guest that the kernel dropped, a second. The line at 0 is there where there were none.", "pps",
		series(`sum by (reason) (rate(tapwatch_network_transmit_drop_total{ONE}[$__rate_interval])) or 0 * sum(rate(tapwatch_network_transmit_packets_total{ONE}[$__rate_interval]))`, "{{reason}}"))
}

func ownResets() dashboard.Panel {
	return graph("Resets by origin", "TCP resets a second, by who sent them.", "ops", series(`sum by (origin) (rate(tapwatch_network_resets_total{ONE}[$__rate_interval]))`, "{{origin}}"))
}

func retransmissions() dashboard.Panel {
	return graph("Retransmissions", "TCP segments that sockets in the namespace sent to the guest again, a second.", "ops", series(`sum(rate(tapwatch_network_retransmits_total{ONE}[$__rate_interval]))`, "sent again"))
}

// bootPhases is the boot as a waterfall of means; that of one sandbox has the agent's page.
func bootPhases() dashboard.Panel {
	return stacked("Boot, mean of each phase", "How long each phase of a boot took since the one before, on average over the time shown. The boot of a single sandbox: tapwatch doctor ID --history.", "s",
		series(`sum by (phase) (rate(tapwatch_sandbox_boot_phase_seconds_sum{SCOPE}[$__rate_interval])) / (sum by (phase) (rate(tapwatch_sandbox_boot_phase_seconds_count{SCOPE}[$__rate_interval])) > 0) or 0 * sum(tapwatch_slots{SCOPE})`, "{{phase}}"))
}
