// Package prom is what the metrics of both programs have in common: the registry that is
// scraped, which is never Prometheus's default one, and what the health board says.
// docs/metrics.md describes the metrics to operators.
//
// A label takes few values, which are known beforehand or are an operator's own
// settings: never an instance, a port, a host (of which a cloud has a thousand), a
// request or a text.
package prom

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/earlybind/earlybind/internal/health"
)

// Namespace is the first word of every metric.
const Namespace = "earlybind"

// scrapesAtOnce bounds what a scraper, or two, can ask for.
const scrapesAtOnce = 4

// NewRegistry makes a registry that knows the version and what Go and the process say
// of themselves.
func NewRegistry(version string) *prometheus.Registry {
	r := prometheus.NewRegistry()
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: Namespace, Name: "build_info", Help: "1; the version is in the label.", ConstLabels: prometheus.Labels{"version": version},
	})
	info.Set(1)
	r.MustRegister(info, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// Handler answers a scrape. What cannot be gathered is left out of it.
func Handler(r *prometheus.Registry) http.Handler {
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: scrapesAtOnce})
}

var (
	liveDesc       = Describe("live", "Whether none of the program's loops is stuck, as /live says.")
	readyDesc      = Describe("ready", "Whether the program lives and lacks nothing, as /ready says.")
	dependencyDesc = Describe("dependency_up", "Whether the program has what it needs of that name, as /ready lists it.", "dependency")
)

// Describe describes a gauge that is read at a scrape.
func Describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(Namespace, "", name), help, labels, nil)
}

// Gauge is its value.
func Gauge(d *prometheus.Desc, value float64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
}

// Truth is the value of what is so, or is not.
func Truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// Health shows what stands on the board.
func Health(b *health.Board) prometheus.Collector { return onBoard{b} }

type onBoard struct{ board *health.Board }

func (onBoard) Describe(out chan<- *prometheus.Desc) {
	out <- liveDesc
	out <- readyDesc
	out <- dependencyDesc
}

func (c onBoard) Collect(out chan<- prometheus.Metric) {
	v := c.board.Verdict()
	out <- Gauge(liveDesc, Truth(v.Live()))
	out <- Gauge(readyDesc, Truth(v.Ready()))
	for name, fact := range c.board.Facts() {
		out <- Gauge(dependencyDesc, Truth(!fact.Lacks), name)
	}
}
