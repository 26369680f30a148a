// Package metrics exports what the launcher's data path counted to Prometheus.
// Every name and help text is in this file.
package metrics

import "github.com/prometheus/client_golang/prometheus"

// Labels: layer is proxy or relay, sandbox_id the sandbox that connections led to,
// side whose leg of a connection is meant: client or backend.
var layerLabels = []string{"sandbox_id", "layer"}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("tapwatch_"+name, help, labels, nil)
}

var (
	connectionsOpen = desc("layer_connections",
		"Connections through a layer to the sandbox that are open, those being dialled among them.", layerLabels...)
	connectionsOpened = desc("layer_connections_opened_total",
		"Connections of a layer that the sandbox's side took.", layerLabels...)
	connectionsEnded = desc("layer_connections_ended_total",
		"Connections through a layer that are over, by who ended them and how; see docs/shapes.md.", append(layerLabels, "reason")...)
	dialErrors = desc("layer_dial_errors_total",
		"Connections that a layer could not make towards the sandbox, by errno.", append(layerLabels, "errno")...)
	transmitBytes = desc("layer_transmit_bytes_total",
		"Bytes that a layer passed on to the sandbox.", layerLabels...)
	receiveBytes = desc("layer_receive_bytes_total",
		"Bytes that a layer passed on from the sandbox.", layerLabels...)
	connectSum = desc("layer_sandbox_connect_seconds",
		"Time from the dial until a layer saw the connection to the sandbox's side open.", layerLabels...)
	firstByteSum = desc("layer_sandbox_first_byte_seconds",
		"Time from the first byte that a connection passed on to the sandbox until its first answer.", layerLabels...)
	rttSum = desc("layer_rtt_seconds",
		"Smoothed round trip of a layer's connections when they ended, by the kernel (TCP_INFO): of all that lasted a second or moved a MiB, and of one in sixteen others.", append(layerLabels, "side")...)
	retransmits = desc("layer_retransmits_total",
		"Segments sent again over those connections, by the kernel.", append(layerLabels, "side")...)

	connectAll = desc("layer_connect_seconds",
		"Time from the dial until a layer saw the connection to the sandbox's side open, over all sandboxes.", "layer")
	firstByteAll = desc("layer_first_byte_seconds",
		"Time from the first byte that a connection passed on to the sandbox until its first answer, over all sandboxes.", "layer")
)

var all = []*prometheus.Desc{
	connectionsOpen, connectionsOpened, connectionsEnded, dialErrors, transmitBytes, receiveBytes,
	connectSum, firstByteSum, rttSum, retransmits, connectAll, firstByteAll,
}
