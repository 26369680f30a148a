package main

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
)

// relayRoute is one address that is listened on, and where it leads.
type relayRoute struct {
	netns      string
	listen, to netip.AddrPort
}

// list returns the routes of the flags.
func (c relayConfig) list() ([]relayRoute, error) {
	one := c.netns + c.listen + c.to
	switch {
	case c.routes == "" && (c.netns == "" || c.listen == "" || c.to == ""):
		return nil, errNoRoute
	case c.routes == "":
		listen, err := addrPort("--listen", c.listen)
		if err != nil {
			return nil, usageError{err}
		}
		to, err := addrPort("--to", c.to)
		if err != nil {
			return nil, usageError{err}
		}
		return []relayRoute{{c.netns, listen, to}}, nil
	case one != "":
		return nil, usagef("--routes names all routes: leave out --netns, --listen and --to")
	case c.routes == "-":
		return readRoutes(os.Stdin, "stdin")
	}
	f, err := os.Open(c.routes)
	if err != nil {
		return nil, fmt.Errorf("--routes: %w", err)
	}
	defer f.Close()
	return readRoutes(f, c.routes)
}

// readRoutes reads a route a line; empty lines and those that begin with # are none.
func readRoutes(r io.Reader, name string) ([]relayRoute, error) {
	var routes []relayRoute
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		words := strings.Fields(lines.Text())
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		if len(words) != 3 {
			return nil, fmt.Errorf("%s:%d: %d words, must be NETNS LISTEN TO", name, n, len(words))
		}
		listen, err := addrPort("listen", words[1])
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, n, err)
		}
		to, err := addrPort("to", words[2])
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, n, err)
		}
		routes = append(routes, relayRoute{words[0], listen, to})
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if len(routes) == 0 {
		return nil, fmt.Errorf("%s names no route", name)
	}
	return routes, nil
}
