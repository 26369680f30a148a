package httpapi

import (
	"net/http"

	"tapwatch/agent/path"
)

// found is a finding with whose it is.
type found struct {
	path.Finding
	SandboxID string     `json:"sandbox_id"`
	Name      string     `json:"name,omitempty"`
	Netns     string     `json:"netns"`
	State     path.State `json:"state"` // of the path: a warning may leave it ok
}

// findings answers {"findings": [...]}: what is wrong now, on the whole host.
func (a *api) findings(w http.ResponseWriter, r *http.Request) {
	all := []found{}
	for _, s := range a.Slots() {
		for _, f := range s.Diagnosis.Findings {
			one := found{Finding: f, Netns: s.Netns, State: s.Diagnosis.State}
			if s.Sandbox != nil {
				one.SandboxID, one.Name = s.Sandbox.ID, s.Sandbox.Name
			}
			all = append(all, one)
		}
	}
	writeJSON(w, http.StatusOK, map[string]any{"findings": all})
}
