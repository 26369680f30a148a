package filter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"tapwatch/agent/path"
	"tapwatch/internal/nlsafe"
)

// from include/uapi/linux/pkt_sched.h and if_link.h
const (
	tcIngress = 0xfffffff2 // TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS)
	tcEgress  = 0xfffffff3
	tcmsgLen  = 20 // struct tcmsg

	xdpAttached = 2 // IFLA_XDP_ATTACHED
)

// OnDevices names what else than netfilter may drop frames at some devices of the
// thread's namespace: the filters of tc, and XDP programs. Those that ours says are
// Tapwatch's are left out. A device that is not there has none.
func OnDevices(ours func(name string) bool, devices ...string) (list []string, err error) {
	c, err := nlsafe.Dial()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	for _, name := range devices {
		if name == "" {
			continue
		}
		index, xdp, err := device(c, name)
		if errors.Is(err, unix.ENODEV) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read the programs on %s: %w", name, err)
		}
		if xdp {
			list = append(list, path.XDPOn(name))
		}
		for _, dir := range []struct {
			name   string
			parent uint32
		}{{"ingress", tcIngress}, {"egress", tcEgress}} {
			filters, err := tcFilters(c, index, dir.parent, ours)
			if err != nil {
				return nil, fmt.Errorf("read the tc filters on %s: %w", name, err)
			}
			for _, f := range filters {
				list = append(list, fmt.Sprintf("a tc filter on %s %s (%s)", name, dir.name, f))
			}
		}
	}
	return list, nil
}

// device returns a device's number, and whether an XDP program is attached to it.
func device(c *nlsafe.Conn, name string) (index uint32, xdp bool, err error) {
	body := nlsafe.AppendAttr(make([]byte, unix.SizeofIfInfomsg, 64), unix.IFLA_IFNAME, append([]byte(name), 0))
	answer, err := c.Get(unix.RTM_GETLINK, body)
	if err != nil {
		return 0, false, err
	}
	if len(answer) < unix.SizeofIfInfomsg {
		return 0, false, nlsafe.ErrMalformed
	}
	index = binary.NativeEndian.Uint32(answer[4:])
	err = nlsafe.EachAttr(answer[unix.SizeofIfInfomsg:], func(typ uint16, v []byte) error {
		if typ != unix.IFLA_XDP {
			return nil
		}
		return nlsafe.EachAttr(v, func(typ uint16, v []byte) error {
			xdp = xdp || typ == xdpAttached && len(v) > 0 && v[0] != 0
			return nil
		})
	})
	return index, xdp, err
}

// tcFilters names the filters at one side of a device. A device without a qdisc for
// them has none.
func tcFilters(c *nlsafe.Conn, index, parent uint32, ours func(string) bool) (list []string, err error) {
	body := make([]byte, tcmsgLen)
	binary.NativeEndian.PutUint32(body[4:], index)
	binary.NativeEndian.PutUint32(body[12:], parent)
	ms, err := c.Dump(unix.RTM_GETTFILTER, body)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, m := range ms {
		kind, name, handle, err := parseFilter(m.Body)
		if err != nil {
			return nil, err
		}
		head := handle == 0 || kind == "u32" && handle&0xfff == 0 // of a list, and no filter
		if head || ours(name) {
			continue
		}
		list = append(list, strings.TrimSpace(kind+" "+name))
	}
	return list, nil
}

// parseFilter reads RTM_NEWTFILTER: the filter's kind, and the name that a program has.
func parseFilter(body []byte) (kind, name string, handle uint32, err error) {
	const bpfName = 7 // TCA_BPF_NAME
	if len(body) < tcmsgLen {
		return "", "", 0, nlsafe.ErrMalformed
	}
	var options []byte
	err = nlsafe.EachAttr(body[tcmsgLen:], func(typ uint16, v []byte) error {
		switch typ {
		case unix.TCA_KIND:
			kind = unix.ByteSliceToString(v)
		case unix.TCA_OPTIONS:
			options = v
		}
		return nil
	})
	if err != nil || kind != "bpf" {
		return kind, "", binary.NativeEndian.Uint32(body[8:]), err
	}
	err = nlsafe.EachAttr(options, func(typ uint16, v []byte) error {
		if typ == bpfName {
			name = unix.ByteSliceToString(v)
		}
		return nil
	})
	return kind, name, binary.NativeEndian.Uint32(body[8:]), err
}
