// Package monitoring tests what watches the agents: alert rules and dashboards,
// first as they are written, then against the demo with a real Prometheus, a
// real Alertmanager and a webhook. It is a module of its own, so that PromQL's
// parser stays out of Tapwatch's.
package monitoring
