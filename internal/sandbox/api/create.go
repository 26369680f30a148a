package api

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"
	"unicode"

	"tapwatch/internal/registry"
	"tapwatch/internal/sandbox"
)

const (
	defaultTimeout = 300          // seconds, as the SDKs'
	maxTimeout     = 24 * 60 * 60 // seconds
	maxName        = 128          // characters of a template's or sandbox's name
)

// createBody is the body of POST /sandboxes. What E2B knows besides and we
// cannot do is refused where it asks for something; fields that nobody knows
// are ignored, because clients are often newer than servers.
type createBody struct {
	TemplateID string            `json:"templateID"`
	Timeout    *int              `json:"timeout"` // seconds; absent: defaultTimeout
	Metadata   map[string]string `json:"metadata"`
	EnvVars    map[string]string `json:"envVars"`
	Secure     *bool             `json:"secure"` // whether envd asks for a token
	Internet   *bool             `json:"allow_internet_access"`
	AutoPause  bool              `json:"autoPause"`
	AutoResume *struct {
		Enabled bool `json:"enabled"`
	} `json:"autoResume"`
	VolumeMounts []json.RawMessage `json:"volumeMounts"`
	MCP          json.RawMessage   `json:"mcp"`
	IAM          json.RawMessage   `json:"iam"`
	Network      json.RawMessage   `json:"network"`
	Tapwatch     drill             `json:"tapwatch"`
}

// drill is what E2B has no word for.
type drill struct {
	Name  string `json:"name"`  // a label for people
	NoNIC bool   `json:"noNIC"` // start the VMM without its NIC
	Path  string `json:"path"`  // relay, fused or dnat; empty: the launcher's
	Keep  bool   `json:"keep"`  // keep a sandbox whose envd never answers, as failed
}

// request checks the body and turns it into the launcher's words.
func (b createBody) request(secureByDefault bool) (sandbox.CreateRequest, error) {
	var none sandbox.CreateRequest
	if b.TemplateID == "" || len(b.TemplateID) > maxName {
		return none, badRequestf("templateID: must be a template's id or alias")
	}
	if len(b.Tapwatch.Name) > maxName {
		return none, badRequestf("tapwatch.name: more than %d characters", maxName)
	}
	if strings.ContainsFunc(b.Tapwatch.Name, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return none, badRequestf("tapwatch.name: %q cannot be printed in one line", b.Tapwatch.Name)
	}
	if what := b.unsupported(); what != "" {
		return none, badRequestf("%s is not supported here", what)
	}
	for k, v := range b.EnvVars {
		if k == "" || strings.ContainsAny(k, "=\x00") || strings.ContainsRune(v, 0) {
			return none, badRequestf("envVars: %q is no environment variable", k)
		}
	}
	path := registry.Shape(b.Tapwatch.Path)
	if path != "" && path.Validate() != nil {
		return none, badRequestf("tapwatch.%v", path.Validate())
	}
	timeout, err := seconds(b.Timeout, 1)
	if err != nil {
		return none, err
	}
	secure := secureByDefault
	if b.Secure != nil {
		secure = *b.Secure
	}
	return sandbox.CreateRequest{
		Template: b.TemplateID, Name: b.Tapwatch.Name, Timeout: timeout,
		Metadata: b.Metadata, EnvVars: b.EnvVars, Secure: secure,
		NoInternet: b.Internet != nil && !*b.Internet,
		Path:       path, NoNIC: b.Tapwatch.NoNIC, Keep: b.Tapwatch.Keep,
	}, nil
}

func (b createBody) unsupported() string {
	asks := func(raw json.RawMessage) bool { return len(raw) > 0 && string(raw) != "null" && string(raw) != "{}" }
	switch {
	case b.AutoPause:
		return "autoPause"
	case b.AutoResume != nil && b.AutoResume.Enabled:
		return "autoResume"
	case len(b.VolumeMounts) > 0:
		return "volumeMounts"
	case asks(b.MCP):
		return "mcp"
	case asks(b.IAM):
		return "iam"
	case asks(b.Network):
		return "network"
	}
	return ""
}

// seconds checks a timeout; absent is the default.
func seconds(n *int, least int) (time.Duration, error) {
	if n == nil {
		return defaultTimeout * time.Second, nil
	}
	if *n < least || *n > maxTimeout {
		return 0, badRequestf("timeout: %d is not between %d and %d seconds", *n, least, maxTimeout)
	}
	return time.Duration(*n) * time.Second, nil
}

// create answers once envd serves, or with what went wrong; then nothing is left.
func (s *server) create(secureByDefault bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var body createBody
		err := decode(w, r, &body)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		req, err := body.request(secureByDefault)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		req.Owner = ownerOf(r)
		sb, err := s.cfg.Manager.Create(r.Context(), req)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		answer(w, http.StatusCreated, s.createdOf(sb))
	}
}

// connect answers how to reach a running sandbox, and prolongs its life where
// the timeout asks for more than is left.
func (s *server) connect(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Timeout *int `json:"timeout"`
	}
	if err := decode(w, r, &body); err != nil {
		s.fail(w, r, err)
		return
	}
	timeout, err := seconds(body.Timeout, 0)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	sb, err := s.cfg.Manager.Get(r.PathValue("id"))
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if sb.State != registry.Running {
		refuse(w, http.StatusConflict, "sandbox %s is %s: %s", sb.ID, sb.State, sb.Reason)
		return
	}
	if body.Timeout != nil && time.Now().Add(timeout).After(sb.EndAt) {
		if err := s.cfg.Manager.SetTimeout(sb.ID, timeout); err != nil {
			s.fail(w, r, err)
			return
		}
	}
	answer(w, http.StatusOK, s.createdOf(sb))
}
