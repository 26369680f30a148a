package path

import "time"

// Route is what a kernel answers when it is asked where a packet would go, as `ip
// route get` asks it. The zero value is that it was not asked.
type Route struct {
	Asked  string `json:"asked,omitempty"`  // in the words of ip route get
	Wants  string `json:"wants,omitempty"`  // the device that the path needs; lo: delivered here
	Device string `json:"device,omitempty"` // the device that it would take; empty: none
	Source string `json:"source,omitempty"` // the address that it would send from; empty: forwarded, or none
	Failed string `json:"failed,omitempty"` // why none, in the kernel's words
	// LocalOn is the device of the asked namespace that has the packet's destination
	// itself, so that it goes no further; empty: none, or that is right.
	LocalOn string `json:"local_on,omitempty"`
	// SourceRefused says that the packet is dropped for the sake of its source:
	// answers to it would not leave by the device that it came by (rp_filter).
	SourceRefused bool `json:"source_refused,omitempty"`
}

// Wrong says whether the packet would not go where the path needs it to.
func (r Route) Wrong() bool { return r.Asked != "" && r.Device != r.Wants }

// Inside is what a close look into a slot's namespace, and at the host's way to it,
// found. What it could not read is named in Unread.
type Inside struct {
	ToNamespace   Route `json:"route_to_namespace"`   // in the host: to the address that the proxy dials
	FromNamespace Route `json:"route_from_namespace"` // in the host: the answers from there
	FromClient    Route `json:"route_from_client"`    // in the namespace: what the proxy sends
	ToClient      Route `json:"route_to_client"`      // in the namespace: its answers
	ToGuest       Route `json:"route_to_guest"`       // in the namespace
	FromGuest     Route `json:"route_from_guest"`     // in the namespace: the guest's answers
	// Vpeer is what the host knows of the namespace's end of the veth pair, Client what
	// the namespace knows of the host's; nil: unknown.
	Vpeer  *Neighbour `json:"neighbour_vpeer,omitempty"`
	Client *Neighbour `json:"neighbour_client,omitempty"`
	// Bridge is the bridge that the tap is a port of: then that should have the tap's
	// addresses. Empty: none.
	Bridge string `json:"bridge,omitempty"`
	// TapAddrs is the addresses of the tap, or of its bridge, with their prefixes; nil:
	// unknown.
	TapAddrs  []string  `json:"tap_addresses"`
	Conntrack Conntrack `json:"conntrack"`
	// Overflows is the connections that found the accept queue of a listener in the
	// namespace full; nil: unknown.
	Overflows *Counted `json:"listen_overflows,omitempty"`
	// OtherHost is the packets of the guest that were not for the hardware address of the
	// tap, and so were dropped; nil: unknown, as before Linux 5.19.
	OtherHost *Counted `json:"other_host,omitempty"`
	// Qdiscs is the queueing disciplines along the path that may delay or drop; nil:
	// unknown.
	Qdiscs []Qdisc `json:"qdiscs"`
	// Ports is set where connections to the guest use most of the ports that they may
	// have in the namespace.
	Ports *Ports `json:"ports,omitempty"`
	// TCPMemory is what sockets of the whole host use; nil: unknown.
	TCPMemory *TCPMemory `json:"tcp_memory,omitempty"`
	// NoDefault says that the namespace has no default route.
	NoDefault Tristate `json:"no_default_route"`
	// MissingDNAT says that no rule passes what comes for a dnat path's address on
	// to the guest.
	MissingDNAT Tristate `json:"missing_dnat"`
	// Egress is how the host treats what the guest begins; nil: the namespace does
	// not pass it on, or that was not asked.
	Egress *Egress  `json:"egress,omitempty"`
	Unread []Unread `json:"unread,omitempty"`
}

// Egress is the host's part in a guest's way out: what a launcher that lets it out
// has set up. Whether the network behind the host lets it through is not known.
type Egress struct {
	As           string   `json:"as"`            // the source that the namespace's rules give it
	Forwards     Tristate `json:"forwards"`      // ip_forward in the namespace
	HostForwards Tristate `json:"host_forwards"` // ip_forward on the host
	Route        Route    `json:"route"`         // of the host: to an address that is nobody's
	Drops        []string `json:"drops"`         // rules of the host that surely drop it, in words; nil: unknown
	Translated   Tristate `json:"translated"`    // a rule of the host gives it a source of the host's
}

// Unread is a fact that could not be had, and why.
type Unread struct {
	What    string `json:"what"`
	Because string `json:"because"`
}

// Conntrack is a namespace's table of connections. Max is 0 where it is unknown,
// or the kernel tracks none.
type Conntrack struct {
	Count uint64 `json:"count"`
	Max   uint64 `json:"max"`
	// Drops is the packets that the kernel dropped since it could not note their
	// connection; LastDrop is when more of them were last found than before, zero: never
	// since the agent looked first.
	Drops    uint64    `json:"drops"`
	LastDrop time.Time `json:"last_drop,omitzero"`
}

// Counted is a count of the kernel's; Last is when there were more than before, zero:
// never since the agent looked first.
type Counted struct {
	Count uint64    `json:"count"`
	Last  time.Time `json:"last,omitzero"`
}

// Qdisc is a queueing discipline of a device: what it does to frames that leave by it.
type Qdisc struct {
	Device string `json:"device"`
	Host   bool   `json:"host,omitempty"` // of the host's namespace
	Kind   string `json:"kind"`           // e.g. tbf, netem, fq
	Rate   uint64 `json:"rate,omitempty"` // bytes a second; 0: no limit, or its classes have some
	// Burst is the size above which a packet is dropped, in bytes; 0: none.
	Burst uint64        `json:"burst,omitempty"`
	Delay time.Duration `json:"delay_ns,omitempty"`
	Loss  float64       `json:"loss,omitempty"`  // part that it drops on purpose, up to 1
	Limit uint32        `json:"limit,omitempty"` // of its queue in packets; 0: unknown, or in bytes
}

// Ports is those that a namespace gives connections to the guest, and how many are in
// use for that.
type Ports struct {
	Most int `json:"most"`
	Used int `json:"used"`
}

// TCPMemory is the pages that TCP sockets use. From Pressure on the kernel gives them
// less, at Max nothing.
type TCPMemory struct {
	Pages    uint64 `json:"pages"`
	Pressure uint64 `json:"pressure"`
	Max      uint64 `json:"max"`
}

// NearlyFull says whether a twentieth or less is free: where it is full the kernel
// drops what begins a connection.
func (c Conntrack) NearlyFull() bool { return c.Max > 0 && c.Count >= c.Max-c.Max/20 }
