// Package dashboards makes the Grafana dashboards from typed Go. Beside it stand
// what else watches the agents: alert rules with their tests, and samples of
// Prometheus' and Alertmanager's configuration.
package dashboards

//go:generate go run ./generate

// All returns every dashboard by the name of its file.
func All() map[string]Dashboard {
	return map[string]Dashboard{"fleet.json": Fleet()}
}

// Fleet is the overview of all hosts: whose path is broken, since when, and where.
func Fleet() Dashboard {
	return Dashboard{
		UID:           "tapwatch-fleet",
		Title:         "Tapwatch / Fleet",
		Description:   "The paths to all sandboxes: which are broken, at which hop, and since when.",
		Tags:          []string{"tapwatch"},
		SchemaVersion: 39,
		Refresh:       "15s",
		Time:          TimeRange{From: "now-1h", To: "now"},
		GraphTooltip:  1,
		Templating:    Templating{List: variables()},
		Panels: layout(
			row{height: 4, panels: overview()},
			row{height: 8, panels: []Panel{pathStates(), findings()}},
			row{height: 9, panels: []Panel{carrierTimeline()}},
			row{title: "Latency and traffic", height: 8, panels: []Panel{hopLatency(), tapLatency(), tapConnect()}},
			row{height: 8, panels: []Panel{traffic(), resets(), carrierChanges()}},
			row{title: "Where the time goes", height: 8, panels: []Panel{hopParts(), hopPartsTail()}},
			row{height: 8, panels: []Panel{unjoinedShare(), joins(), connectFailures(), connections()}},
			row{title: "Sandboxes", height: 10, panels: []Panel{sandboxes()}},
			row{title: "The agents themselves", height: 7, panels: []Panel{netlinkHealth(), agentCost()}},
		),
	}
}

func variables() []Variable {
	all := &Choice{Text: "All", Value: "$__all"}
	choose := func(name, label, query string) Variable {
		return Variable{
			Name: name, Label: label, Type: "query", Query: query, Datasource: source,
			Refresh: 2, Sort: 1, Multi: true, IncludeAll: true, AllValue: ".+", Current: all,
		}
	}
	return []Variable{
		{Name: "datasource", Label: "Data source", Type: "datasource", Query: "prometheus"},
		choose("job", "Job", `label_values(tapwatch_build_info, job)`),
		choose("instance", "Agent", `label_values(tapwatch_build_info{job=~"$job"}, instance)`),
		choose("sandbox", "Sandbox", `label_values(tapwatch_sandbox_info{job=~"$job", instance=~"$instance"}, sandbox_id)`),
	}
}

func overview() []Panel {
	return []Panel{
		stat("Sandboxes", "Slots with a sandbox bound to them.", plain("blue"),
			value(`sum(tapwatch_slots{SCOPE, state="bound"})`)),
		stat("Paths broken", "Sandboxes that cannot be reached, at whatever hop.", goodBelow(1),
			value(`sum(tapwatch_sandboxes{SCOPE, state="broken"})`)),
		// The second half makes "none" a 0 where agents answer, and nothing where none does.
		stat("NO-CARRIER now", "Bound sandboxes whose tap has nobody attached. Idle slots do not count: they have no carrier and are healthy.", goodBelow(1),
			value(`count(tapwatch_network_carrier{SCOPE, sandbox_id!=""} == 0) or 0 * sum(tapwatch_slots{SCOPE})`)),
		stat("Paths unknown", "Sandboxes of which too little is known to say: neither healthy nor broken.",
			&Thresholds{Mode: "absolute", Steps: []Step{{Color: "green"}, {Color: "yellow", Value: ptr(1.0)}}},
			value(`sum(tapwatch_sandboxes{SCOPE, state="unknown"})`)),
		stat("Idle slots", "Slots ready for the next sandbox.", plain("blue"),
			value(`sum(tapwatch_slots{SCOPE, state="idle"})`)),
		stat("Agents down", "Agents that Prometheus knows and cannot scrape. Their sandboxes are unknown.", goodBelow(1),
			value(`count(up{SCOPE} == 0) or 0 * sum(up{SCOPE})`)),
	}
}

func pathStates() Panel {
	p := stacked(graph("Path state", "Sandboxes by the state of their path.", "short",
		series(`sum by (state) (tapwatch_sandboxes{SCOPE})`, "{{state}}")))
	colour(p, "ok", "green")
	colour(p, "broken", "red")
	colour(p, "unknown", "yellow")
	colour(p, "booting", "blue")
	colour(p, "paused", "purple")
	return p
}

func findings() Panel {
	return stacked(graph("Findings", "Problems by hop and cause. Each cause has a page in docs/checks.", "short",
		series(`count by (hop, code) (tapwatch_finding{SCOPE})`, "{{hop}}: {{code}}")))
}

func carrierTimeline() Panel {
	p := panel("state-timeline", "Carrier", "Carrier of each sandbox's tap. A gap is unknown: the agent did not say. Choose sandboxes above where there are many.", "short",
		series(`tapwatch_network_carrier{SCOPE, sandbox_id=~"$sandbox"} * on (job, instance, netns, sandbox_id) group_left (name) tapwatch_sandbox_info{SCOPE}`,
			"{{name}} {{sandbox_id}} {{netns}}"))
	p.FieldConfig.Defaults.Mappings = carrierWords()
	p.FieldConfig.Defaults.Custom = map[string]any{"fillOpacity": 80, "lineWidth": 0, "spanNulls": false}
	p.Options = map[string]any{
		"mergeValues": true, "showValue": "auto", "alignValue": "left", "rowHeight": 0.8,
		"legend":  map[string]any{"displayMode": "list", "placement": "bottom", "showLegend": true},
		"tooltip": map[string]any{"mode": "single", "sort": "none"},
	}
	return p
}

func carrierWords() []Mapping {
	return []Mapping{{Type: "value", Options: map[string]Display{
		"0": {Text: "NO-CARRIER", Color: "red", Index: 0},
		"1": {Text: "carrier", Color: "green", Index: 1},
	}}}
}
