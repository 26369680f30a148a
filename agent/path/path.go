// Package path is the model of what lies between a client and the daemon in a
// sandbox: what is known of it at one time (Facts), and what follows from that
// (Diagnosis). It holds values only; nothing here reads the kernel.
package path

import (
	"cmp"
	"reflect"
	"slices"
	"time"

	"tapwatch/internal/e2b"
	"tapwatch/internal/netns"
	"tapwatch/internal/registry"
)

// Hop is one place that a request passes, in this order. Guest is the guest's
// kernel and its eth0; the latency of hop "tap" contains it.
type Hop string

// The hops of a path.
const (
	Proxy Hop = "proxy" // in the host: clients talk to it
	Relay Hop = "relay" // in the namespace: the proxy talks to it
	Tap   Hop = "tap"
	Guest Hop = "guest"
	Envd  Hop = "envd"
)

// Hops is every hop from the client on.
var Hops = []Hop{Proxy, Relay, Tap, Guest, Envd}

// HasRelay says whether a program may listen in the namespace of a path of that
// shape. A fused path's proxy dials from inside, a dnat path's kernel passes on, and
// to a routed or bridged one the kernels of host and guest speak; of a foreign path the
// shape may be unknown, "".
func HasRelay(shape registry.Shape) bool {
	return shape == registry.Relay || shape == ""
}

// HopsOf is every hop of a path of that shape. In a dnat path the namespace's
// kernel is the relay; in a fused, routed or bridged one nothing is.
func HopsOf(shape registry.Shape) []Hop {
	switch shape {
	case registry.Fused, registry.Routed, registry.Bridged:
		return []Hop{Proxy, Tap, Guest, Envd}
	}
	return Hops
}

// Hops is every hop that this path has. A sandbox of a launcher that is not known to
// have a proxy or a daemon in the guest has none unless one was seen.
func (f *Facts) Hops() []Hop {
	all := HopsOf(f.Sandbox.Shape)
	if f.Host { // nothing leads into the host's own namespace by a relay
		all = HopsOf(registry.Routed)
	}
	if f.Sandbox.ServesEnvd() {
		return all
	}
	asked := f.Traffic != nil && !f.Traffic.LastEnvdSYN.IsZero()
	var hops []Hop
	for _, h := range all {
		if h == Proxy && !f.Proxy.Expected && !asked || h == Relay && f.Sandbox.Shape == "" && !asked || h == Envd && !asked {
			continue
		}
		hops = append(hops, h)
	}
	return hops
}

// ServesEnvd says whether its launcher is known to put E2B's daemon into every guest.
func (s *Sandbox) ServesEnvd() bool {
	return !s.Foreign || s.Source == "e2b" || s.Source == "forkd"
}

// Tristate is a fact that may be unknown; the zero value is.
type Tristate int8

// The values of a Tristate.
const (
	Unknown Tristate = iota
	No
	Yes
)

// Known turns a bool that was really read into a Tristate.
func Known(b bool) Tristate {
	if b {
		return Yes
	}
	return No
}

func (t Tristate) String() string {
	switch t {
	case No:
		return "no"
	case Yes:
		return "yes"
	}
	return "unknown"
}

// MarshalText makes JSON say "unknown", "no" or "yes".
func (t Tristate) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText reads what MarshalText wrote; any other word is Unknown.
func (t *Tristate) UnmarshalText(b []byte) error {
	switch string(b) {
	case "yes":
		*t = Yes
	case "no":
		*t = No
	default:
		*t = Unknown
	}
	return nil
}

// Facts is what is known of one slot at one time. Times are wall-clock; the zero
// time is never. What could not be read is Unknown, or a nil pointer.
type Facts struct {
	Now   time.Time `json:"now"`
	Netns string    `json:"netns"`
	Host  bool      `json:"host_netns,omitempty"` // it is the agent's own
	// ServicePort is where the daemon in the guest listens.
	ServicePort uint16       `json:"service_port"`
	Cookie      netns.Cookie `json:"netns_cookie"`
	Sandbox     *Sandbox     `json:"sandbox"` // nil: none is bound to the tap
	// Launcher is whose slot this is by its record or its name; empty: nobody's that
	// a rule knows.
	Launcher string `json:"launcher,omitempty"`
	// Unidentified is the process that holds the tap where no rule knows its sandbox;
	// nil: nobody does, or the sandbox is known.
	Unidentified *Holder `json:"unidentified,omitempty"`
	// Stray is a VMM that sits where nothing leads to, which may belong here; nil:
	// none does.
	Stray      *Stray       `json:"stray,omitempty"`
	Proxy      Listener     `json:"proxy"`
	Relay      Listener     `json:"relay"`
	Veth       Veth         `json:"veth"`
	Health     Health       `json:"health"`         // asked straight at the tap
	Through    Health       `json:"health_through"` // asked through the whole path
	*CloseLook              // never nil: NotLooked where no sandbox is
	Device     Device       `json:"tap"`
	Traffic    *Traffic     `json:"traffic"` // nil: no hooks on the tap
	Seen       map[Hop]Seen `json:"seen,omitempty"`
	// Requests is what came of real requests lately; nil: none was seen.
	Requests *Requests `json:"requests,omitempty"`
	// Loss is where packets vanished when that was looked for; nil: it was not, or none do.
	Loss *Loss `json:"loss,omitempty"`
	// Dropped is where the kernel dropped packets of the path lately, asked while requests
	// fail, the most first; none: that is not known.
	Dropped []Dropped `json:"dropped,omitempty"`
	// Template is what the sandbox boots from; nil: it was not read, or cannot be.
	Template *Template `json:"template,omitempty"`
	// Silence is set where the operator wants no alarm of the sandbox for a time.
	Silence *Silence `json:"silence,omitempty"`
	// Assumed says that nothing but the name of the namespace vouches for addresses.
	Assumed bool `json:"addresses_assumed,omitempty"`
}

// Port is where the daemon in the guest listens: what an agent does not say is E2B's.
func (f *Facts) Port() uint16 { return cmp.Or(f.ServicePort, e2b.EnvdPort) }

// Silence is a time in which the operator wants no alarm.
type Silence struct {
	Until  time.Time `json:"until"`
	Reason string    `json:"reason,omitempty"`
}

// Seen is what real requests showed of a hop last; the zero time is never.
type Seen struct {
	Good time.Time `json:"good,omitzero"` // it answered
	Bad  time.Time `json:"bad,omitzero"`  // it did not
}

// Sandbox is the VM that is bound to the slot.
type Sandbox struct {
	ID         string `json:"id"`
	Name       string `json:"name,omitempty"`
	TemplateID string `json:"template_id,omitempty"`
	BuildID    string `json:"build_id,omitempty"`
	// Source is who says so: tapwatch (the launcher's record), else the rule that
	// knows the VMM's process, such as e2b or firecracker.
	Source string `json:"source"`
	Team   string `json:"team,omitempty"`
	// Labels are what the operator's rules give it besides.
	Labels map[string]string `json:"labels,omitempty"`
	// Orphan is set where the launcher of its record has ended.
	Orphan *Orphan `json:"orphan,omitempty"`
	// Foreign says that another launcher than ours made it.
	Foreign bool `json:"foreign"`
	// VMMCommand is the name of the VMM's process; empty: unknown.
	VMMCommand string         `json:"vmm_command,omitempty"`
	Shape      registry.Shape `json:"shape"` // empty: unknown
	Booting    bool           `json:"booting"`
	Ending     bool           `json:"ending"`           // it is being removed, as was wanted
	Paused     bool           `json:"paused,omitempty"` // its launcher's record says that it is
	VMMPID     int            `json:"vmm_pid,omitempty"`
	VMMAlive   Tristate       `json:"vmm_alive"`
	VMMStopped Tristate       `json:"vmm_stopped"` // by SIGSTOP or a debugger
	// VMMZombie is since when it has ended and its parent has not waited for it; zero: it is none.
	VMMZombie time.Time `json:"vmm_zombie_since,omitzero"`
	VMMExit   *VMMExit  `json:"vmm_exit,omitempty"` // nil: it runs, or its end was not seen
	VMMUser   *User     `json:"vmm_user,omitempty"` // nil: unknown
	// VMMMACs is the hardware addresses that the VMM's command line names for NICs.
	VMMMACs []string `json:"vmm_macs,omitempty"`
	API     *VMMAPI  `json:"vmm_api,omitempty"` // nil: not asked, or it has none
	// Process is what a close look at the VMM's process found; nil: there was none.
	Process *VMMProcess `json:"vmm_process,omitempty"`
	// Holds is taps that the VMM has open, wherever, a few of many; nil: unknown.
	Holds   []HeldTap      `json:"vmm_holds"`
	Console []ConsoleFault `json:"console,omitempty"`
	// ConsoleFile is where the guest's console is kept; empty: nobody knows.
	ConsoleFile string    `json:"console_file,omitempty"`
	Since       time.Time `json:"since,omitzero"` // creation
	Boot        *Boot     `json:"boot,omitempty"`
}

// Orphan is the end of a launcher that left its sandboxes behind.
type Orphan struct {
	LauncherPID int       `json:"launcher_pid"`
	Since       time.Time `json:"since,omitzero"` // when the agent saw it; zero: it was so when the agent came
}

// Stray is a VMM whose tap nothing leads to, as it stands beside an idle slot.
type Stray struct {
	SandboxID string `json:"sandbox_id"`
	Command   string `json:"command"`
	PID       int    `json:"pid"`
	Netns     string `json:"netns"`
	Device    string `json:"device"`
}

// HeldTap is a tap that a process has open.
type HeldTap struct {
	Netns  string `json:"netns"` // its name, or its cookie in words
	Device string `json:"device"`
	Here   bool   `json:"here"` // in the slot's namespace
}

// ConsoleFault is what the guest's console says of a failure. The guest writes
// it: it is a hint, not a proof.
type ConsoleFault struct {
	Code string `json:"code"` // the check that it speaks for
	Line string `json:"line"`
	// Read is when the agent read it first: when it was written nobody knows.
	Read time.Time `json:"read,omitzero"`
}

// VMMExit is the end of a VMM's process as the kernel told it.
type VMMExit struct {
	Time    time.Time `json:"time"`
	Command string    `json:"command"`
	How     string    `json:"how"` // e.g. "was killed by SIGKILL from bash (pid 42)"
	// HeldTap says whether it had a tap open to its end: if so it ended before the
	// carrier went, if not after.
	HeldTap Tristate `json:"held_tap"`
	Wanted  bool     `json:"wanted"` // status 0, or its launcher's signal
	// Signal is the name of the one that it died of, and Status "0" or "other" where it
	// exited: for counting.
	Signal string `json:"-"`
	Status string `json:"-"`
}

// Template is what was read of the files that a sandbox boots from. What is wrong
// with them may be the cause of what the path shows, or not matter to it.
type Template struct {
	Dir      string            `json:"dir"`
	Problems []TemplateProblem `json:"problems"`
}

// TemplateProblem is one thing that is wrong with a template, in the words of a
// Finding.
type TemplateProblem struct {
	Code     string   `json:"code"`
	Cause    string   `json:"cause"`
	Evidence []string `json:"evidence"`
	Fix      string   `json:"fix"`
}

// Listener is the listening socket of a layer.
type Listener struct {
	Addr      string   `json:"addr"` // where it is expected; empty: unknown
	Listening Tristate `json:"listening"`
	Actual    string   `json:"actual,omitempty"` // where it listens instead, if anywhere
	Queue     Queue    `json:"queue"`
	Process   Process  `json:"process"` // that listens
	// Expected says that somebody means it to be there: a record, the configuration, or
	// that it was there before.
	Expected bool `json:"expected"`
}

// Veth is the pair that leads from the host to the namespace.
type Veth struct {
	Host   string   `json:"host,omitempty"` // the name of the host's end; empty: unknown
	HostUp Tristate `json:"host_up"`        // it is there, and up
	Peer   string   `json:"peer,omitempty"` // the namespace's end
	PeerUp Tristate `json:"peer_up"`        // it is there, up, and has a carrier
	MTU    uint32   `json:"mtu,omitempty"`  // of the namespace's end; 0: unknown
	// HostMTU is that of the host's end; 0: unknown.
	HostMTU uint32 `json:"host_mtu,omitempty"`
	// MAC is the hardware address of the namespace's end, HostMAC that of the host's;
	// empty: unknown. NoARP and HostNoARP say that ARP is switched off there.
	MAC       string `json:"mac,omitempty"`
	HostMAC   string `json:"host_mac,omitempty"`
	NoARP     bool   `json:"noarp,omitempty"`
	HostNoARP bool   `json:"host_noarp,omitempty"`
}

// CloseLook is what a close look at a sandbox's path found. Facts share it.
type CloseLook struct {
	Rules  Rules  `json:"rules"`
	Inside Inside `json:"inside"`
}

// NotLooked is what is known where nobody looked; not to be changed.
var NotLooked CloseLook

// Rules is what the namespace does with packets on their way, and the host's own before
// it.
type Rules struct {
	Forwards Tristate `json:"forwards"` // ip_forward; read in the shape dnat only
	Filters           // of the namespace
	Host     Filters  `json:"host"` // of the host's own namespace
}

// Filters is what the packet filters of a namespace do with the packets of a path, in
// words.
type Filters struct {
	// Drops is the rules that surely drop what the path needs; nil: unknown.
	Drops []string `json:"drops"`
	// Redirects is the rules that surely send it elsewhere.
	Redirects []string `json:"redirects,omitempty"`
	// Partly is the rules that drop or redirect some of it: by a rate, by chance, or
	// for its length.
	Partly []string `json:"partly,omitempty"`
	// NotJudged is the rules that may drop it and that are not understood.
	NotJudged []string `json:"not_judged,omitempty"`
}

// Stop returns the rules that surely keep what the path needs from where it is to go.
func (f Filters) Stop() []string { return slices.Concat(f.Drops, f.Redirects) }

// XDPOn is what NotJudged says of an XDP program on a device.
func XDPOn(device string) string { return "the XDP program on " + device }

// Device is the tap as the kernel reports it.
type Device struct {
	Name    string        `json:"name"`
	Ifindex netns.Ifindex `json:"ifindex,omitempty"` // 0: it is not there
	// Kind is the kernel's word for it: tun (of taps too), macvtap, veth; empty:
	// unknown, or hardware.
	Kind string `json:"kind,omitempty"`
	// WasCalled is the name that its launcher gave it, where it has another now.
	WasCalled string `json:"was_called,omitempty"`
	Bridge    string `json:"bridge,omitempty"` // whose port it is; empty: of none
	// Persistent says that it outlives its holder: one that is not was made by its
	// VMM, and goes with it.
	Persistent Tristate `json:"persistent"`
	Addr       string   `json:"addr,omitempty"` // the host's address on it
	GuestAddr  string   `json:"guest_addr,omitempty"`
	Exists     Tristate `json:"exists"`
	// Elsewhere is namespaces that have a tap of that name which nobody holds, and are
	// nobody's slot: this one has none, or one that its VMM made by itself.
	Elsewhere []string `json:"elsewhere,omitempty"`
	AdminUp   Tristate `json:"admin_up"`
	Carrier   Tristate `json:"carrier"`
	Operstate string   `json:"operstate,omitempty"` // lags behind the carrier
	// NoARP says that ARP is switched off on it: the kernel neither asks by it nor answers.
	NoARP bool   `json:"noarp,omitempty"`
	MTU   uint32 `json:"mtu,omitempty"` // 0: unknown
	// MAC is the hardware address; MACWas another that it had while the VMM was
	// attached, empty where there was none.
	MAC    string `json:"mac,omitempty"`
	MACWas string `json:"mac_was,omitempty"`
	// Tun is how the tap was made and opened last; nil: unknown.
	Tun *Tun `json:"tun,omitempty"`
	// Neighbour is what the namespace knows of the guest; nil: unknown.
	Neighbour *Neighbour `json:"neighbour,omitempty"`
	// OperstateStaleSince is since when it has contradicted the carrier; zero: it does not.
	OperstateStaleSince time.Time `json:"operstate_stale_since,omitzero"`
	Since               time.Time `json:"since,omitzero"` // of the present carrier; zero: before the agent
	Downs               uint32    `json:"carrier_downs"`
	Ups                 uint32    `json:"carrier_ups"`
	// Holders is who keeps the tap open; nil: unknown, empty: nobody.
	Holders []Holder `json:"holders"`
}

// Tun is what only a tap has. A process that is neither its owner nor in its group
// needs CAP_NET_ADMIN to open it.
type Tun struct {
	Owner      *uint32 `json:"owner,omitempty"` // user id; nil: whoever
	Group      *uint32 `json:"group,omitempty"`
	MultiQueue bool    `json:"multi_queue"` // who opens it must say so too, else: EINVAL
	VnetHdr    bool    `json:"vnet_hdr"`    // as it was opened last
}

// Neighbour is the kernel's entry for an address on a link.
type Neighbour struct {
	Addr  string `json:"addr,omitempty"`
	MAC   string `json:"mac,omitempty"` // empty: not known
	State string `json:"state"`         // as ip neigh prints it, e.g. REACHABLE; none: there is no entry
}

// Holder is a process that has the tap open.
type Holder struct {
	PID     int    `json:"pid"`
	Command string `json:"command"`
	SameNS  bool   `json:"same_netns"` // sits in the tap's namespace itself
	// Netns is the slot whose namespace it sits in, SandboxID the sandbox whose
	// VMM it is; empty: none, as far as is known.
	Netns     string `json:"netns,omitempty"`
	SandboxID string `json:"sandbox_id,omitempty"`
	Inherited bool   `json:"inherited,omitempty"` // it was forked by another holder
}

// GuestIdle says whether nothing but the count of frames to the guest differs from now:
// the kernel itself sends some to every tap now and then, of which nothing follows.
func (t *Traffic) GuestIdle(now *Traffic) bool {
	if t == nil || now == nil {
		return t == now
	}
	was := *t
	was.TransmitPackets, was.TransmitBytes = now.TransmitPackets, now.TransmitBytes
	return reflect.DeepEqual(&was, now)
}

// Traffic is what the hooks on the tap counted since Since, which is before the
// agent's start where it counts on in what another left. Resets are TCP segments
// with RST, by who sent them.
type Traffic struct {
	Since time.Time `json:"since,omitzero"`

	ReceivePackets  uint64 `json:"receive_packets"` // from the guest
	TransmitPackets uint64 `json:"transmit_packets"`
	ReceiveBytes    uint64 `json:"receive_bytes"`
	TransmitBytes   uint64 `json:"transmit_bytes"`
	ReceiveResets   uint64 `json:"receive_resets"`   // the guest
	RelayResets     uint64 `json:"relay_resets"`     // a socket in the namespace
	KernelResets    uint64 `json:"kernel_resets"`    // the namespace's kernel, for want of a socket
	ForwardedResets uint64 `json:"forwarded_resets"` // from beyond the namespace
	ARPRequests     uint64 `json:"arp_requests"`
	ARPReplies      uint64 `json:"arp_replies"`
	SYNs            uint64 `json:"syns"`
	SYNRetransmits  uint64 `json:"syn_retransmits"`
	SYNACKs         uint64 `json:"syn_acks"`
	SYNsRefused     uint64 `json:"syns_refused"`
	SYNsUnanswered  uint64 `json:"syns_unanswered"` // before they were sent again
	// Connections to other ports than envd's that the guest refused.
	PortsRefused uint64 `json:"ports_refused"`
	// Segments that sockets of the namespace sent to the guest again; nil: unknown.
	Retransmits *uint64 `json:"retransmits"`
	// Frames to the guest that the kernel dropped, by its reason; nil: unknown.
	TransmitDrops map[string]uint64 `json:"transmit_drops"`
	// When the count of a reason was last seen to grow, since the agent read it
	// first; nil: unknown.
	LastDrops map[string]time.Time `json:"last_drops"`

	// Bytes that the driver counted and our hooks did not see, since something
	// hides them; nil: not compared yet.
	HiddenReceive  *uint64 `json:"hidden_receive_bytes"`
	HiddenTransmit *uint64 `json:"hidden_transmit_bytes"`

	// The guest's own address as its last ARP message says, or its first IPv4 packet, and
	// when that came; empty: it has sent neither.
	GuestAddr string    `json:"guest_addr,omitempty"`
	GuestMAC  string    `json:"guest_mac,omitempty"`
	GuestSeen time.Time `json:"guest_seen,omitzero"`

	LastReceive     time.Time `json:"last_receive,omitzero"`
	LastARPRequest  time.Time `json:"last_arp_request,omitzero"`
	LastARPReply    time.Time `json:"last_arp_reply,omitzero"`
	LastEnvdSYN     time.Time `json:"last_envd_syn,omitzero"`
	LastEnvdSYNACK  time.Time `json:"last_envd_syn_ack,omitzero"`
	LastEnvdRefused time.Time `json:"last_envd_refused,omitzero"`

	// The port, not envd's, that the guest refused last, when, and since when it has
	// refused that port alone without a long pause; 0: none was refused.
	RefusedPort      uint16    `json:"refused_port,omitempty"`
	LastPortRefused  time.Time `json:"last_port_refused,omitzero"`
	PortRefusedSince time.Time `json:"port_refused_since,omitzero"`

	// The first request that still has no answer; zero: none waits.
	ARPWaiting  time.Time `json:"arp_waiting,omitzero"`
	EnvdWaiting time.Time `json:"envd_waiting,omitzero"`
}
