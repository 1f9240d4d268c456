// Package monitoring holds what an operator monitors earlybind with to the metrics that
// there are: the alert rules, the dashboard, docs/metrics.md and docs/runbook.md. All of
// it is tests; those that need promtool are `make test-alerts`.
package monitoring
