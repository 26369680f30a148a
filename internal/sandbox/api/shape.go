package api

import (
	"cmp"
	"time"

	"tapwatch/internal/sandbox"
)

// clientID names the node; old clients want one.
const clientID = "tapwatch"

// assumedEnvd is said of a template that brings an envd of its own, of unknown
// version: clients choose features by it, and this is the least by which they
// leave the default user to envd.
const assumedEnvd = "0.4.0"

func envdVersion(sb sandbox.Sandbox) string { return cmp.Or(sb.EnvdVersion, assumedEnvd) }

// created is what creating and connecting answer.
type created struct {
	SandboxID       string  `json:"sandboxID"`
	TemplateID      string  `json:"templateID"`
	ClientID        string  `json:"clientID"`
	EnvdVersion     string  `json:"envdVersion"`
	Alias           string  `json:"alias,omitempty"`
	EnvdAccessToken string  `json:"envdAccessToken,omitempty"`
	Domain          *string `json:"domain"` // null: the client's own
}

func (s *server) createdOf(sb sandbox.Sandbox) created {
	c := created{
		SandboxID: sb.ID, TemplateID: sb.TemplateID, ClientID: clientID,
		EnvdVersion: envdVersion(sb), Alias: sb.Alias, EnvdAccessToken: sb.AccessToken,
	}
	if s.cfg.Domain != "" {
		c.Domain = &s.cfg.Domain
	}
	return c
}

// listed is a sandbox in a list. State is E2B's "running", or our own
// "booting" and "failed", which its clients pass on as they are.
type listed struct {
	SandboxID   string            `json:"sandboxID"`
	TemplateID  string            `json:"templateID"`
	ClientID    string            `json:"clientID"`
	Alias       string            `json:"alias,omitempty"`
	EnvdVersion string            `json:"envdVersion"`
	State       string            `json:"state"`
	StartedAt   time.Time         `json:"startedAt"`
	EndAt       time.Time         `json:"endAt"`
	CPUCount    int               `json:"cpuCount"`
	MemoryMB    int               `json:"memoryMB"`
	Metadata    map[string]string `json:"metadata"`
	Tapwatch    local             `json:"tapwatch"`
}

// local is what E2B does not have: where the sandbox is on this host.
type local struct {
	Name    string `json:"name,omitempty"`
	Reason  string `json:"reason,omitempty"` // why it failed
	Path    string `json:"path"`             // relay, fused, dnat
	Netns   string `json:"netns"`
	Tap     string `json:"tap"`
	Console string `json:"console,omitempty"` // log file on the host
}

func listedOf(sb sandbox.Sandbox) listed {
	l := listed{
		SandboxID: sb.ID, TemplateID: sb.TemplateID, ClientID: clientID, Alias: sb.Alias,
		EnvdVersion: envdVersion(sb), State: string(sb.State), StartedAt: sb.CreatedAt.UTC(), EndAt: sb.EndAt.UTC(),
		CPUCount: sb.VCPUs, MemoryMB: sb.MemoryMiB, Metadata: sb.Metadata,
		Tapwatch: local{Name: sb.Name, Reason: sb.Reason, Path: string(sb.Path), Netns: sb.Slot.Netns(), Tap: sb.Slot.Tap(), Console: sb.Console},
	}
	if l.Metadata == nil {
		l.Metadata = map[string]string{}
	}
	return l
}

// detailed is one sandbox, asked for by its id.
type detailed struct {
	listed
	EnvdAccessToken string  `json:"envdAccessToken,omitempty"`
	Domain          *string `json:"domain"`
}

func (s *server) detailedOf(sb sandbox.Sandbox) detailed {
	c := s.createdOf(sb)
	return detailed{listedOf(sb), c.EnvdAccessToken, c.Domain}
}
