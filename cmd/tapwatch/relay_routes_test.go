package main

import (
	"strings"
	"testing"
)

func TestReadRoutes(t *testing.T) {
	routes, err := readRoutes(strings.NewReader("# slots\n\nns-1 10.12.0.3:49983 169.254.0.21:49983\n ns-2\t10.12.0.5:1  169.254.0.21:2\n"), "f")
	if err != nil || len(routes) != 2 || routes[1].netns != "ns-2" || routes[1].listen.Port() != 1 || routes[1].to.String() != "169.254.0.21:2" {
		t.Fatalf("%+v, %v", routes, err)
	}
	for text, want := range map[string]string{
		"":                              "f names no route",
		"ns-1 10.12.0.3:1":              "f:1: 2 words, must be NETNS LISTEN TO",
		"\nns-1 10.12.0.3 10.12.0.3:1":  `f:2: listen "10.12.0.3": must be ADDRESS:PORT`,
		"ns-1 10.12.0.3:1 169.254.0.21": `f:1: to "169.254.0.21": must be ADDRESS:PORT`,
	} {
		if _, err := readRoutes(strings.NewReader(text), "f"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestRelayRoutesOrOne(t *testing.T) {
	for want, c := range map[string]relayConfig{
		"leave out --netns": {routes: "-", netns: "ns-1"},
		"nothing to relay":  {netns: "ns-1", listen: "10.12.0.3:1"},
		`--to "x": must be`: {netns: "ns-1", listen: "10.12.0.3:1", to: "x"},
		"no such file":      {routes: "/nonexistent"},
	} {
		if _, err := c.list(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", c, err, want)
		}
	}
}
