// Package metrics exports what the agent knows to Prometheus. Every name and
// help text is in this file.
package metrics

// Labels that name a slot: netns is the namespace's name, device the interface
// in it, sandbox_id the sandbox bound to it and empty for an idle slot.
var slotLabels = []string{"netns", "device", "sandbox_id"}

func desc(name, help string, labels ...string) *family {
	return newFamily("tapwatch_"+name, help, labels)
}

// histogram is a desc of one, of which the host has all.
func histogram(name, help string, labels ...string) *family {
	f := desc(name, help, labels...)
	f.typ = "histogram"
	return f
}

// detailed is a desc of what --metrics-detail adds.
func detailed(name, help string, labels ...string) *family {
	f := desc(name, help, labels...)
	f.detail = true
	return f
}

var (
	networkCarrier = desc("network_carrier",
		"Carrier of the device: 1 carrier, 0 NO-CARRIER. Absent while unknown.", slotLabels...)
	networkCarrierChanges = desc("network_carrier_changes_total",
		"Times that the carrier of the device came or went since the device was made.", slotLabels...)
	networkUp = detailed("network_up",
		"Administrative state of the device: 1 up, 0 down. Absent while unknown.", slotLabels...)
	networkReceivePackets = desc("network_receive_packets_total",
		"Frames that the device received: what the guest sent.", slotLabels...)
	networkTransmitPackets = desc("network_transmit_packets_total",
		"Frames that the device transmitted: what was sent to the guest.", slotLabels...)
	networkReceiveBytes = desc("network_receive_bytes_total",
		"Bytes that the device received, with link-layer headers.", slotLabels...)
	networkTransmitBytes = desc("network_transmit_bytes_total",
		"Bytes that the device transmitted, with link-layer headers.", slotLabels...)
	networkResets = desc("network_resets_total",
		"TCP segments with RST by direction and by who sent them: guest; relay, a socket in the namespace; kernel, the namespace's for want of a socket; forwarded, from beyond.", append(slotLabels, "direction", "origin")...)
	networkARP = detailed("network_arp_total",
		"ARP messages: request is the host asking for the guest, reply the guest answering.", append(slotLabels, "operation")...)
	networkSYN = detailed("network_syn_total",
		"SYNs towards the guest: sent, the first of each connection, and of those accepted or refused by the guest; retransmitted, sent again; unanswered, the first before it was sent again. They do not add up: sent is all.", append(slotLabels, "outcome")...)
	tapHoldersElsewhere = detailed("tap_holders_elsewhere",
		"Processes that have the tap open and sit in another namespace than it. Absent while unknown, and for idle slots.", slotLabels...)
	operstateStale = desc("network_operstate_stale",
		"Devices whose operstate now says otherwise than their carrier: the kernel's operstate lags by seconds when many change at once. Tapwatch goes by the carrier.")
	operstateLag = histogram("network_operstate_lag_seconds",
		"Time for which the operstate of a device contradicted its carrier, until it followed.")
	networkRetransmits = desc("network_retransmits_total",
		"TCP segments that sockets in the namespace sent to the guest again, SYNs apart. Absent while unknown.", slotLabels...)
	networkTransmitDrop = desc("network_transmit_drop_total",
		"Frames to the guest that the kernel dropped, by its reason (enum skb_drop_reason).", append(slotLabels, "reason")...)
	pathDrop = desc("path_drop_total",
		"Packets of the service's port that the kernel dropped anywhere on the host, of all sandboxes, by direction (transmit, towards the guest; receive, from it) and by its reason (enum skb_drop_reason; unknown before Linux 5.17). Absent until there are any.", "direction", "reason")
	networkHidden = desc("network_hidden_bytes_total",
		"Bytes that the device's driver counted and the agent's hooks did not see, because another program before them ends the chain or took them away. Absent until there are any, and with --metrics-detail until first compared.", append(slotLabels, "direction")...)
	tapHolders = desc("tap_holders",
		"Processes that have the tap open. Absent while unknown.", slotLabels...)

	tapHolderInfo = detailed("tap_holder_info",
		"The process that holds the tap; always 1. Command is the name of the process (comm). Absent where nobody holds the tap, or nobody knows.", append(slotLabels, "comm")...)

	slots     = desc("slots", "Taps on this host by state: bound, a sandbox is at it; idle, nobody holds it; unidentified, somebody holds it whom no rule knows; unknown, it has carrier, and who holds it cannot be seen.", "state")
	slotBound = desc("slot_bound",
		"Whether a sandbox is bound to the slot: 1 bound, 0 idle. An idle slot has no carrier and is healthy. Absent for taps that somebody unidentified or unknown holds.", slotLabels...)
	sandboxSilenced = desc("sandbox_silenced",
		"The operator wants no alarm of the sandbox now; always 1. Its findings are not exported meanwhile.", "sandbox_id", "netns")
	sandboxGroup = desc("sandbox_group",
		"A group label that the operator's rules give the sandbox, such as team; always 1.", "sandbox_id", "netns", "key", "value")

	sandboxInfo = desc("sandbox_info",
		"What is known of a sandbox; always 1.", "sandbox_id", "netns", "device", "name", "template", "build_id", "source", "shape")
	sandboxCreated = desc("sandbox_created_timestamp_seconds",
		"Unix time at which the sandbox was created.", "sandbox_id", "netns")

	pathState = desc("path_state",
		"State of the path to the sandbox: 1 for the present state. Of the others ok and broken are 0, the rest (unknown, booting, paused) absent.", "sandbox_id", "netns", "state")
	pathUp = desc("path_up",
		"Whether a hop of the path works: 1 ok, 0 broken. Absent while unknown or booting.", "sandbox_id", "netns", "hop")
	finding = desc("finding",
		"A problem that was found; always 1, absent when it is gone.", "sandbox_id", "netns", "hop", "code", "severity")

	findingSince = desc("finding_since_timestamp_seconds",
		"Unix time since which a problem is found. Absent when it is gone.", "sandbox_id", "netns", "hop", "code")
	findingsFound = desc("findings_total",
		"Problems that were found, by the check: one of which the sandbox was rid between two scrapes too. Silenced ones count.", "code")
	findingsCleared  = desc("findings_cleared_total", "Problems that have gone while their sandbox was there, by the check.", "code")
	pathTransitions  = desc("path_transitions_total", "Changes of the state of a path, by the state that it came to: ok, broken, unknown, booting, paused.", "state")
	sandboxes        = desc("sandboxes", "Sandboxes on this host by the state of their path.", "state")
	sandboxesCreated = desc("sandboxes_created_total", "Sandboxes that were created while the agent ran.")
	sandboxesEnded   = desc("sandboxes_ended_total",
		"Sandboxes that ended, by how: removed, as their launcher wanted; vmm_failed, their VMM ended as nobody wanted; unknown, nothing told.", "reason")
	sandboxesFailed = desc("sandboxes_failed_total",
		"Sandboxes whose path broke for the first time, by the hop that broke; one that mends and breaks again counts once.", "hop")
	bootFailures = desc("boot_failures_total",
		"Boots that did not end well, of sandboxes created while the agent ran: ended, the sandbox ended or was removed before it was up; timeout, its launcher still called it booting after five minutes.", "reason")
	vmmExits = desc("vmm_exits_total",
		"Ends of VMMs, by the signal that they died of (none: they exited, and status says whether with 0) and by whether that was wanted: status 0, or a signal of their launcher. Absent until one ended so.", "signal", "status", "wanted")
	collectorSuccess = desc("collector_last_success_timestamp_seconds",
		"Unix time at which a part of the agent last asked the kernel with success. Those that ask only when something changed may rest for long. Absent until the first.", "collector")
	collectorDuration = desc("collector_duration_seconds",
		"Time that the last such question took, of each part of the agent. Absent until the first.", "collector")
	collectorFailures = desc("collector_failures_total", "Questions to the kernel that failed, of each part of the agent.", "collector")

	hopLatency = histogram("hop_latency_seconds",
		"Time that requests spent in a hop, of all sandboxes: proxy and relay from a request's arrival until it was sent on, and the same for its answer; tap from data to its ACK (host kernel, VMM, guest kernel); envd from the request to the answer's first byte, less tap. Absent where the kernel cannot tell.", "hop")
	hopPart = histogram("hop_part_seconds",
		"What the time in a hop consisted of. Of proxy and relay: wait, until what had arrived was read; handle, until what was read was sent. Of the proxy, besides: connect, until the relay took the connection. Of the tap: queue, until the VMM took the frame; besides: connect, SYN to SYN-ACK.", "hop", "part")
	sandboxHopLatency = histogram("sandbox_hop_latency_seconds",
		"hop_latency_seconds of single sandboxes, of as many as --hops-per-sandbox allows, as native histograms: the text format has sum and count only.", "sandbox_id", "netns", "hop")
	sandboxHopsLeftOut = desc("sandbox_hops_left_out_total",
		"Sandboxes that were to have a latency of their own, and for which --hops-per-sandbox had no place.")
	flowJoined = desc("flow_joined_total",
		"Requests whose sockets in a proxy were found to belong together: told by the proxy, by the buffer that they were read into and sent from, or by the kernel's sequence numbers.", "hop", "how")
	flowUnjoined = desc("flow_unjoined_total",
		"Requests that are in no latency of the hop: no_backend, nobody was seen sending them on, the proxy answered itself or copies data; ambiguous, several were; disagree, the answer came from elsewhere; no_response, they were answered before the backend did; table_full.", "hop", "reason")
	flowUnsplit = desc("flow_unsplit_total",
		"Answers of guests of which it is not known how much of the time was the tap's.")
	flowNegative = desc("flow_negative_total",
		"Times that would have been below zero, and were taken for zero.")
	connectFailures = desc("connect_failures_total",
		"Connections of proxy and relay that were not established, by the hop that did not answer (relay, tap, envd) and by errno; GAVE_UP: the program ended the attempt.", "hop", "errno")
	connections = desc("connections",
		"Connections of the paths now, by hop (proxy, relay), by side (front, accepted; back, connected) and state: connecting, half open, without an answer yet; established; half_closed, one side has ended. The label layer is the hop by its old name, for this release only.", "hop", "layer", "side", "state")
	requests = desc("requests_total",
		"Connects and requests to the sandbox's service port, by outcome: answered; server_error, HTTP 5xx; not_http; refused; reset or closed, before an answer; lost, not acknowledged; gave_up, the client ended it; unused, a connection without a request. Counted at the sockets that connect to the relay; where there is no relay, to the guest.", "sandbox_id", "netns", "outcome")
	pathSeenUp = detailed("path_seen_up",
		"What was seen of a hop last: 1 it answered, 0 it did not. By real traffic (origin traffic), or by the agent's own questions (origin probe). Absent while nothing was, or nothing that is certain.", "sandbox_id", "netns", "hop", "origin")

	tapConnect = histogram("tap_connect_seconds",
		"SYN to SYN-ACK at the taps of all sandboxes, of any port of the guest.")

	healthProbes = desc("health_probes_total",
		"The agent's own questions for envd's health, by the way that they took (tap, straight at the tap from inside the namespace; path, through the proxy as clients do; relay, once, as proxies ask) and by result: ok; ill, an error was answered, by envd or on the way; no answer; not connected. By way relay the agent asks sandboxes that had no request for --probe-silent, by the other ways those that answered none for --probe-every.", "way", "result")
	probeDuration = histogram("probe_duration_seconds",
		"Time from one of these questions to its answer, connecting included, of those that were answered.", "way")

	bootPhase = histogram("sandbox_boot_phase_seconds",
		"Time that sandboxes took for a phase of their boot, since the phase before: slot_ready, vmm_started, tap_attached, carrier, guest_frame, arp_answered, syn_ack, envd_healthy.", "phase")

	netlinkEvents   = desc("netlink_events_total", "Link messages received from the kernel.")
	netlinkOverruns = desc("netlink_overruns_total", "Times that the netlink socket lost messages (ENOBUFS).")
	netlinkResyncs  = desc("netlink_resyncs_total", "Full resyncs of the link state.")
	netlinkSynced   = desc("netlink_synced", "Whether the link state is complete: 0 after an overrun until the resync.")

	probeAttached       = desc("probe_attached", "Devices that carry the agent's hooks, by how.", "mode")
	probeAttachDuration = histogram("probe_attach_duration_seconds",
		"Time that it took to hook a device, both directions.", "mode")
	probeAttachErrors = desc("probe_attach_errors_total", "Failed attachments of hooks by reason.", "reason")
	capability        = desc("capability", "Whether the kernel and the agent's privileges allow a feature: 1 yes, 0 no.", "name")
	checkDemoted      = desc("check_demoted", "1 for each check that the operator switched off (to is off), or whose findings are made a warning or info at most.", "code", "to")
	eventsLost        = desc("events_lost_total", "Events that slow readers of the event stream missed.")
)
