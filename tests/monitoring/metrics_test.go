package monitoring

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/earlybind/earlybind/audit"
	consumer "github.com/earlybind/earlybind/consumer/metrics"
	"github.com/earlybind/earlybind/handover"
	"github.com/earlybind/earlybind/internal/health"
	"github.com/earlybind/earlybind/internal/prom"
	publisher "github.com/earlybind/earlybind/publisher/metrics"
)

const (
	alertRules = "../../deploy/prometheus/alerts.yml"
	alertTests = "../../deploy/prometheus/alerts_test.yml"
	dashboard  = "../../deploy/grafana/earlybind.json"
	metricsDoc = "../../docs/metrics.md"
	runbook    = "../../docs/runbook.md"
)

// registries are those of the two programs when everything has happened once.
func registries() []*prometheus.Registry {
	board := health.NewBoard()
	for _, name := range []string{"broker", "neutron", "libvirt", "program"} {
		board.Has(name, "connected")
	}
	one, two := prom.NewRegistry("1.2.3"), prom.NewRegistry("1.2.3")
	one.MustRegister(prom.Health(board))
	two.MustRegister(prom.Health(board))

	c := consumer.NewConsumer(one, handover.Drivers(nil))
	c.Settings("auto", "own", true)
	c.Cell("", "", func() consumer.Standing { return consumer.Standing{JournalRead: true} })
	c.Count("", "", audit.Line{Event: audit.HandoverEnded, Outcome: string(handover.OutcomeMigrated), Driver: "openvswitch", Figures: map[string]int64{
		"lead_ms": 1, "would_lead_suspended_ms": 1, "would_lead_resumed_ms": 1, "pause_to_active_ms": 1, "pause_to_nova_ms": 1, "reaction_ms": 1,
	}})
	publisher.NewPublisher(two).Backlog(func() (int, time.Duration) { return 0, 0 })
	return []*prometheus.Registry{one, two}
}

// metric is one metric of ours, and which values of its labels were seen.
type metric struct {
	kind   string
	labels map[string][]string
}

func (m metric) String() string {
	return m.kind + " of " + strings.Join(slices.Sorted(maps.Keys(m.labels)), ", ")
}

func exported(t *testing.T) map[string]metric {
	t.Helper()
	all := map[string]metric{}
	for _, r := range registries() {
		families, err := r.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if !strings.HasPrefix(f.GetName(), prom.Namespace+"_") {
				continue
			}
			m := metric{strings.ToLower(f.GetType().String()), map[string][]string{}}
			for _, sample := range f.GetMetric() {
				for _, l := range sample.GetLabel() {
					m.labels[l.GetName()] = append(m.labels[l.GetName()], l.GetValue())
				}
			}
			all[f.GetName()] = m
		}
	}
	return all
}

func TestConventions(t *testing.T) {
	for _, r := range registries() {
		problems, err := testutil.GatherAndLint(r)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range problems {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestEveryMetricIsDocumentedAsItIs(t *testing.T) {
	row := regexp.MustCompile("(?m)^\\| `(earlybind_[a-z_]+)` \\| ([a-z]+) \\|([^|]*)\\|")
	documented := map[string]string{}
	for _, m := range row.FindAllStringSubmatch(read(t, metricsDoc), -1) {
		labels := regexp.MustCompile("[a-z_]+").FindAllString(m[3], -1)
		slices.Sort(labels)
		documented[m[1]] = m[2] + " of " + strings.Join(labels, ", ")
	}
	is := map[string]string{}
	for name, m := range exported(t) {
		is[name] = m.String()
	}
	for _, name := range slices.Sorted(maps.Keys(is)) {
		if documented[name] != is[name] {
			t.Errorf("%s is a %s, docs/metrics.md has %q", name, is[name], documented[name])
		}
	}
	for name := range documented {
		if is[name] == "" {
			t.Errorf("%s is documented and not there", name)
		}
	}
}

// resolve finds the metric that a series is of.
func resolve(all map[string]metric, series string) (metric, bool) {
	m, ok := all[series]
	if ok && m.kind != "histogram" {
		return m, true
	}
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		if m, ok := all[strings.TrimSuffix(series, suffix)]; ok && m.kind == "histogram" && strings.HasSuffix(series, suffix) {
			return m, true
		}
	}
	return metric{}, false
}

// A name that is misspelt in a query is no fault to Prometheus: it finds nothing.
func TestEveryMetricThatIsAskedForIsThere(t *testing.T) {
	all := exported(t)
	used := map[string]bool{}
	name := regexp.MustCompile(`\bearlybind_[a-z_]+\b`)
	for _, file := range []string{alertRules, alertTests, dashboard} {
		for _, series := range name.FindAllString(read(t, file), -1) {
			used[series] = true
			if _, ok := resolve(all, series); !ok {
				t.Errorf("%s: there is no %s", file, series)
			}
		}
	}
	if len(used) < 20 {
		t.Errorf("only %d are asked for", len(used))
	}
	for _, file := range []string{runbook, metricsDoc} {
		for _, named := range name.FindAllString(read(t, file), -1) {
			if _, ok := all[named]; !ok {
				t.Errorf("%s: there is no %s", file, named)
			}
		}
	}
}

// Nor is a label that a metric does not have, or a value that it never takes.
func TestEveryLabelThatIsAskedForIsThere(t *testing.T) {
	all := exported(t)
	selector := regexp.MustCompile(`\b(earlybind_[a-z_]+)\{([^}]*)\}`)
	matcher := regexp.MustCompile(`([a-z_]+)\s*(=~|!~|!=|=)\s*\\?"([^"\\]*)\\?"`)
	free := []string{"job", "instance", "cell", "share", "driver", "version", "le"} // and their values
	found := 0
	for _, file := range []string{alertRules, alertTests, dashboard} {
		for _, s := range selector.FindAllStringSubmatch(read(t, file), -1) {
			m, _ := resolve(all, s[1])
			for _, l := range matcher.FindAllStringSubmatch(s[2], -1) {
				found++
				label, values := l[1], strings.Split(l[3], "|")
				_, has := m.labels[label]
				if !has && !slices.Contains([]string{"job", "instance", "le"}, label) {
					t.Errorf("%s: %s has no label %s", file, s[1], label)
				}
				if slices.Contains(free, label) || s[1] == "earlybind_consumer_info" {
					continue
				}
				for _, v := range values {
					if !slices.Contains(m.labels[label], v) {
						t.Errorf("%s: %s never has %s=%q, only %q", file, s[1], label, v, m.labels[label])
					}
				}
			}
		}
	}
	if found < 50 {
		t.Errorf("only %d matchers were found", found)
	}
}
