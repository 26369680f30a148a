// Package metrics exports what the launcher's data path counted to Prometheus.
// Every name and help text is in this file.
package metrics

import "github.com/prometheus/client_golang/prometheus"

// Family is one metric as docs/metrics.md lists it.
type Family struct {
	Name, Type, Help string
	Labels           []string
	Detail           bool // of single sandboxes, where the operator wants all
}

// kind is one thing that is counted: for all sandboxes of a hop together (proxy or
// relay), and for each. Old is the same by the name that it had until this release, when
// a hop was called a layer; nil: it had none.
type kind struct{ all, each, oldAll, oldEach *prometheus.Desc }

// Families are all that there are.
var Families []Family

func desc(name, typ, help string, detail bool, labels ...string) *prometheus.Desc {
	Families = append(Families, Family{"tapwatch_" + name, typ, help, labels, detail})
	return prometheus.NewDesc("tapwatch_"+name, help, labels, nil)
}

// newKind takes of the old names what there was: with sandbox_id, and without.
func newKind(name, typ, oldEach, oldAll, help string, labels ...string) kind {
	single := typ
	if typ == "histogram" {
		single = "summary"
	}
	of := func(first ...string) []string { return append(first, labels...) }
	k := kind{
		all:  desc("data_path_"+name, typ, help, false, of("hop")...),
		each: desc("sandbox_data_path_"+name, single, help+" Of single sandboxes.", true, of("sandbox_id", "hop")...),
	}
	old := func(name string) string { return "Old name of tapwatch_" + name + ", for this release only." }
	if oldEach != "" {
		k.oldEach = desc(oldEach, single, old("sandbox_data_path_"+name), true, of("sandbox_id", "layer")...)
	}
	if oldAll != "" {
		k.oldAll = desc(oldAll, typ, old("data_path_"+name), false, of("layer")...)
	}
	return k
}

var (
	connectionsOpen = newKind("connections", "gauge", "layer_connections", "",
		"Connections through proxy or relay to sandboxes that are open, those being dialled among them.")
	connectionsOpened = newKind("connections_opened_total", "counter", "layer_connections_opened_total", "",
		"Connections of proxy or relay that the sandbox's side took.")
	connectionsEnded = newKind("connections_ended_total", "counter", "layer_connections_ended_total", "",
		"Connections through proxy or relay that are over, by who ended them and how; see docs/shapes.md. Absent until one ended so.", "reason")
	dialErrors = newKind("dial_errors_total", "counter", "layer_dial_errors_total", "",
		"Connections that proxy or relay could not make towards sandboxes, by errno. Absent until there is one.", "errno")
	transmitBytes = newKind("transmit_bytes_total", "counter", "layer_transmit_bytes_total", "",
		"Bytes that proxy or relay passed on to sandboxes.")
	receiveBytes = newKind("receive_bytes_total", "counter", "layer_receive_bytes_total", "",
		"Bytes that proxy or relay passed on from sandboxes.")
	connect = newKind("connect_seconds", "histogram", "layer_sandbox_connect_seconds", "layer_connect_seconds",
		"Time from the dial until proxy or relay saw the connection to the sandbox's side open.")
	firstByte = newKind("first_byte_seconds", "histogram", "layer_sandbox_first_byte_seconds", "layer_first_byte_seconds",
		"Time from the first byte that a connection passed on to the sandbox until its first answer.")
	rtt = newKind("rtt_seconds", "summary", "layer_rtt_seconds", "",
		"Smoothed round trip of connections of proxy or relay when they ended, by the kernel (TCP_INFO) and by side (client, backend): of all that lasted a second or moved a MiB, and of one in sixteen others.", "side")
	retransmits = newKind("retransmits_total", "counter", "layer_retransmits_total", "",
		"Segments sent again over those connections, by the kernel.", "side")
)

var kinds = []kind{connectionsOpen, connectionsOpened, connectionsEnded, dialErrors, transmitBytes, receiveBytes, connect, firstByte, rtt, retransmits}
