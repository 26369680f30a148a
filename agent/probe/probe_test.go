package probe

import (
	"errors"
	"net"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
)

func load(t *testing.T) *Probe {
	t.Helper()
	nettest.NeedRoot(t)
	p, err := Load(Config{HooksDir: t.TempDir() + "/hooks"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// kill ends an agent's claim as a SIGKILL does: what is attached stays.
func kill(t *testing.T, p *Probe) {
	t.Helper()
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
}

// tap makes a namespace with a tap that the test holds, with the host's address
// on it and a fixed neighbour, so that no ARP is needed to send to the guest.
func tap(t *testing.T) (ns string, d netns.Device, guest *os.File) {
	t.Helper()
	ns = nettest.Netns(t)
	guest = nettest.AttachTap(t, ns, "tap0")
	nettest.In(t, ns, func() (err error) {
		if d.Netns, err = netns.Current(); err != nil {
			return err
		}
		l, err := netlink.LinkByName("tap0")
		if err != nil {
			return err
		}
		d.Ifindex = netns.Ifindex(l.Attrs().Index)
		addr, err := netlink.ParseAddr("169.254.0.22/30")
		if err != nil {
			return err
		}
		if err := netlink.AddrAdd(l, addr); err != nil {
			return err
		}
		if err := netlink.LinkSetUp(l); err != nil {
			return err
		}
		return netlink.NeighAdd(&netlink.Neigh{
			LinkIndex: l.Attrs().Index, State: netlink.NUD_PERMANENT,
			IP: net.IPv4(169, 254, 0, 21), HardwareAddr: net.HardwareAddr{2, 0xfc, 0, 0, 0, 5},
		})
	})
	return ns, d, guest
}

// answerSYN reads frames as a guest until a SYN comes, and answers it with flags.
func answerSYN(t *testing.T, guest *os.File, flags byte) {
	t.Helper()
	const vnet = 10 // struct virtio_net_hdr, which IFF_VNET_HDR puts before each frame
	b := make([]byte, 2048)
	if err := guest.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	for {
		n, err := guest.Read(b)
		if err != nil {
			t.Fatal("no SYN came to the guest: ", err)
		}
		f := b[vnet:n]
		if len(f) < 54 || f[12] != 8 || f[13] != 0 || f[23] != unix.IPPROTO_TCP || f[47]&0x12 != 0x02 {
			continue
		}
		reply := make([]byte, vnet, vnet+54)
		reply = append(reply, f[6:12]...)  // to its sender
		reply = append(reply, f[0:6]...)   // from its receiver
		reply = append(reply, f[12:26]...) // ethertype and IP up to the checksum's end
		reply = append(reply, f[30:34]...) // addresses swapped: their checksum stays
		reply = append(reply, f[26:30]...)
		reply = append(reply, f[36:38]...) // ports swapped
		reply = append(reply, f[34:36]...)
		reply = append(reply, 0, 0, 0, 1)                          // our sequence number
		reply = append(reply, f[38], f[39], f[40], f[41]+1)        // acknowledges the SYN
		reply = append(reply, 5<<4, flags, 0xff, 0xff, 0, 0, 0, 0) // checksum: not looked at by tc
		reply[vnet+16], reply[vnet+17] = 0, 40                     // IP length without options
		if _, err := guest.Write(reply); err != nil {
			t.Fatal(err)
		}
		return
	}
}

// connect starts a connection to the guest's port from inside ns.
func connect(t *testing.T, ns string, port int) {
	t.Helper()
	nettest.In(t, ns, func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		t.Cleanup(func() { unix.Close(fd) })
		err = unix.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{169, 254, 0, 21}})
		if errors.Is(err, unix.EINPROGRESS) {
			err = nil
		}
		return err
	})
}

// eventually waits until the counters satisfy ok; the last ones are in the failure.
func eventually(t *testing.T, p *Probe, d netns.Device, what string, ok func(Counters) bool) Counters {
	t.Helper()
	var c Counters
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		var err error
		if c, err = p.Counters(d); err != nil {
			t.Fatal(err)
		}
		if ok(c) {
			return c
		}
	}
	t.Fatalf("%s: not so after a minute: %+v", what, c)
	return c
}

func TestCounters(t *testing.T) {
	t.Parallel()
	p := load(t)
	ns, d, guest := tap(t)
	if _, err := p.Counters(d); !errors.Is(err, ErrNotAttached) {
		t.Fatalf("before attach: %v, want ErrNotAttached", err)
	}
	if err := p.Attach(ns, d, "tap0"); err != nil {
		t.Fatal(err)
	}

	connect(t, ns, 49983)
	c := eventually(t, p, d, "one SYN sent", func(c Counters) bool { return c.SYNs == 1 })
	if c.LastEnvdSYN == 0 || c.TransmitPackets == 0 || c.TransmitBytes < 54 {
		t.Errorf("a SYN to envd's port was sent, but %+v", c)
	}
	if c.LastReceive != 0 || c.ReceivePackets != 0 {
		t.Errorf("the guest sent nothing, but %+v", c)
	}
	answerSYN(t, guest, 0x12)
	c = eventually(t, p, d, "SYN-ACK counted", func(c Counters) bool { return c.SYNACKs == 1 })
	if c.LastEnvdSYNACK < c.LastEnvdSYN || c.LastReceive != c.LastEnvdSYNACK || c.SYNsRefused != 0 {
		t.Errorf("after the SYN-ACK: %+v", c)
	}
	var observed uint64
	for _, n := range c.Latency {
		observed += n
	}
	if observed != 1 || c.LatencySum != time.Duration(c.LastEnvdSYNACK-c.LastEnvdSYN) {
		t.Errorf("latency: %d observations, sum %v, want one of %v", observed, c.LatencySum, c.LastEnvdSYNACK-c.LastEnvdSYN)
	}

	connect(t, ns, 80)
	answerSYN(t, guest, 0x14)
	c = eventually(t, p, d, "refusal counted", func(c Counters) bool { return c.SYNsRefused == 1 })
	if c.Resets[ResetByGuest] != 1 || c.LastEnvdRefused != 0 || c.PortsRefused != 1 || c.RefusedPort != 80 || c.LastPortRefused != c.LastReceive {
		t.Errorf("after a refusal at port 80: %+v", c)
	}
	connect(t, ns, 49983)
	answerSYN(t, guest, 0x14)
	eventually(t, p, d, "envd's refusal", func(c Counters) bool {
		return c.SYNsRefused == 2 && c.LastEnvdRefused > c.LastEnvdSYNACK && c.PortsRefused == 1 && c.RefusedPort == 80
	})
}

// A packet without a socket must be counted for the device's namespace too.
func TestARP(t *testing.T) {
	t.Parallel()
	p := load(t)
	ns, d, _ := tap(t)
	if err := p.Attach(ns, d, "tap0"); err != nil {
		t.Fatal(err)
	}
	nettest.In(t, ns, func() error {
		return netlink.NeighDel(&netlink.Neigh{LinkIndex: int(d.Ifindex), IP: net.IPv4(169, 254, 0, 21)})
	})
	connect(t, ns, 49983)
	c := eventually(t, p, d, "asked for", func(c Counters) bool { return c.ARPRequests > 0 })
	if c.LastARPRequest == 0 || c.ARPReplies != 0 {
		t.Errorf("nobody answered, but %+v", c)
	}
}

func TestSYNRetransmitIsNotMeasured(t *testing.T) {
	t.Parallel()
	p := load(t)
	ns, d, guest := tap(t)
	if err := p.Attach(ns, d, "tap0"); err != nil {
		t.Fatal(err)
	}
	connect(t, ns, 49983)
	eventually(t, p, d, "SYN retransmitted", func(c Counters) bool { return c.SYNRetransmits >= 1 })
	answerSYN(t, guest, 0x12)
	c := eventually(t, p, d, "SYN-ACK counted", func(c Counters) bool { return c.SYNACKs == 1 })
	if c.SYNs != 1 || c.LatencySum != 0 {
		t.Errorf("a retransmitted SYN must count once and give no latency: %+v", c)
	}
}

func TestWrongDevice(t *testing.T) {
	t.Parallel()
	p := load(t)
	ns, d, _ := tap(t)
	other, _, _ := tap(t)
	for _, tt := range []struct {
		name, ns, device string
		d                netns.Device
	}{
		{"other namespace under the name", other, "tap0", d},
		{"other device under the index", ns, "tap1", d},
		{"no such index", ns, "tap0", netns.Device{Netns: d.Netns, Ifindex: 9999}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := p.Attach(tt.ns, tt.d, tt.device); !errors.Is(err, ErrWrongDevice) {
				t.Errorf("got %v, want ErrWrongDevice", err)
			}
			if _, err := p.Counters(tt.d); !errors.Is(err, ErrNotAttached) {
				t.Errorf("a refused attach left a registration: %v", err)
			}
		})
	}
	if err := p.Attach("twtest-no-such", d, "tap0"); !errors.Is(err, netns.ErrNotExist) {
		t.Errorf("got %v, want ErrNotExist", err)
	}
}
