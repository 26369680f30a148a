package inspect

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"tapwatch/agent/path"
	"tapwatch/agent/sockets"
)

// Limits of the kernel that a path may run into.

// own is the files of the thread's namespace; /proc/net is that of the process.
const own = "/proc/thread-self/net/"

// listenOverflows reads how many connections found an accept queue full.
func listenOverflows() (*path.Counted, error) {
	b, err := os.ReadFile(own + "netstat")
	if err != nil {
		return nil, err
	}
	n, err := parseListenOverflows(string(b))
	if err != nil {
		return nil, err
	}
	return &path.Counted{Count: n}, nil
}

// parseListenOverflows reads two lines that begin with TcpExt: the names, the values.
func parseListenOverflows(text string) (uint64, error) {
	var names []string
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 || f[0] != "TcpExt:" {
			continue
		}
		if names == nil {
			names = f
			continue
		}
		if i := slices.Index(names, "ListenOverflows"); i > 0 && i < len(f) {
			return strconv.ParseUint(f[i], 10, 64)
		}
	}
	return 0, errors.New("netstat does not tell overflows of accept queues")
}

// conntrack reads how full the table of connections of the thread's namespace is.
// A kernel that tracks none has none.
func conntrack() (c path.Conntrack, err error) {
	const dir = "/proc/sys/net/netfilter/nf_conntrack_"
	if c.Count, err = number(dir + "count"); errors.Is(err, os.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return c, err
	}
	if c.Max, err = number(dir + "max"); err != nil {
		return c, err
	}
	b, err := os.ReadFile(own + "stat/nf_conntrack")
	if err != nil {
		return c, err
	}
	c.Drops, err = parseConntrackDrops(string(b))
	return c, err
}

// parseConntrackDrops adds the column drop of all CPUs, in hexadecimal.
func parseConntrackDrops(text string) (drops uint64, err error) {
	column := -1
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if column < 0 {
			for i, name := range f {
				if name == "drop" {
					column = i
				}
			}
			if column < 0 {
				return 0, errors.New("the statistics of connection tracking do not tell drops")
			}
			continue
		}
		if len(f) <= column {
			continue
		}
		n, err := strconv.ParseUint(f[column], 16, 64)
		if err != nil {
			return 0, fmt.Errorf("read the statistics of connection tracking: %w", err)
		}
		drops += n
	}
	return drops, nil
}

func number(file string) (uint64, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", file, err)
	}
	return n, nil
}

// numbers reads a file of numbers.
func numbers(file string) (list []uint64, err error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	for _, f := range strings.Fields(string(b)) {
		n, err := strconv.ParseUint(f, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", file, err)
		}
		list = append(list, n)
	}
	return list, nil
}

// fewSockets is so few that they leave any range of ports free that is not narrow on
// purpose.
const fewSockets = 1000

// portsTo counts the ports that the thread's namespace uses for connections to an
// address; nil where these are few of those that it has. A calm look believes that they
// are where there are few sockets: the kernel finds a namespace's file of /proc/sys among
// those of all others by comparing names, which at thousands of them takes longer than all
// else in a look.
func portsTo(to netip.AddrPort, calm bool) (*path.Ports, error) {
	inuse, waiting, _, err := sockstat()
	if err != nil || calm && inuse+waiting < fewSockets {
		return nil, err
	}
	const dir = "/proc/sys/net/ipv4/"
	bounds, err := numbers(dir + "ip_local_port_range")
	if err != nil || len(bounds) != 2 {
		return nil, err
	}
	b, err := os.ReadFile(dir + "ip_local_reserved_ports")
	if err != nil {
		return nil, err
	}
	p := path.Ports{Most: freePorts(int(bounds[0]), int(bounds[1]), string(b))}
	if 2*(inuse+waiting) < uint64(p.Most) { // most of them, not to list thousands for nothing
		return nil, nil
	}
	reuse, err := number(dir + "tcp_tw_reuse")
	if err != nil {
		return nil, err
	}
	p.Used, err = sockets.Dialed(to, reuse != 1)
	if err != nil || 2*p.Used < p.Most {
		return nil, err
	}
	return &p, nil
}

// freePorts is how many ports of a range are not reserved. Reserved is as the kernel
// lists them: 8080,40000-41000.
func freePorts(first, last int, reserved string) int {
	n := last - first + 1
	for part := range strings.SplitSeq(strings.TrimSpace(reserved), ",") {
		from, to, is := strings.Cut(part, "-")
		a, err := strconv.Atoi(from)
		if err != nil {
			continue
		}
		b := a
		if is {
			if b, err = strconv.Atoi(to); err != nil {
				continue
			}
		}
		n -= max(0, min(b, last)-max(a, first)+1)
	}
	return n
}

// sockstat reads how many TCP sockets of IPv4 the thread's namespace has, how many are in
// TIME_WAIT, and the pages that those of the whole host use.
func sockstat() (inuse, waiting, pages uint64, err error) {
	b, err := os.ReadFile(own + "sockstat")
	if err != nil {
		return 0, 0, 0, err
	}
	return parseSockstat(string(b))
}

func parseSockstat(text string) (inuse, waiting, pages uint64, err error) {
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(line, "TCP: ")
		if !ok {
			continue
		}
		_, err = fmt.Sscanf(rest, "inuse %d orphan %d tw %d alloc %d mem %d", &inuse, new(uint64), &waiting, new(uint64), &pages)
		if err != nil {
			return 0, 0, 0, fmt.Errorf("read sockstat: %w", err)
		}
		return inuse, waiting, pages, nil
	}
	return 0, 0, 0, errors.New("sockstat tells nothing of TCP")
}

// tcpMemory reads what TCP sockets use. Only the initial namespace tells the limits.
func tcpMemory() (*path.TCPMemory, error) {
	limits, err := numbers("/proc/sys/net/ipv4/tcp_mem")
	if errors.Is(err, os.ErrNotExist) || err == nil && len(limits) != 3 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	m := &path.TCPMemory{Pressure: limits[1], Max: limits[2]}
	_, _, m.Pages, err = sockstat()
	if err != nil {
		return nil, err
	}
	return m, nil
}
