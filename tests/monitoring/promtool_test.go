//go:build promtool

package monitoring

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/earlybind/earlybind/internal/prom"
)

// promtool runs Prometheus's own tool.
func promtool(t *testing.T, input string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "../../deploy/prometheus/promtool", args...)
	cmd.Stdin = strings.NewReader(input)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func TestPromtoolChecksTheRules(t *testing.T) {
	promtool(t, "", "check", "rules", "--lint=all", "--lint-fatal", alertRules)
	promtool(t, "", "check", "config", "../../deploy/prometheus/scrape.yml")
}

func TestPromtoolTestsTheRules(t *testing.T) { promtool(t, "", "test", "rules", alertTests) }

func TestPromtoolReadsAScrape(t *testing.T) {
	for _, r := range registries() {
		answer := httptest.NewRecorder()
		prom.Handler(r).ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
		// Of Go's own, some are not to its taste.
		var ours strings.Builder
		for line := range strings.Lines(answer.Body.String()) {
			if strings.HasPrefix(strings.TrimPrefix(strings.TrimPrefix(line, "# HELP "), "# TYPE "), prom.Namespace) {
				ours.WriteString(line)
			}
		}
		promtool(t, ours.String(), "check", "metrics")
	}
}

// Each query of the dashboard is checked as a rule, with Grafana's variables filled in.
func TestPromtoolReadsTheDashboard(t *testing.T) {
	var d struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal([]byte(read(t, dashboard)), &d); err != nil {
		t.Fatal(err)
	}
	fill := strings.NewReplacer("$__rate_interval", "5m", "$__range", "1d", "$cell", ".*")
	rules := "groups:\n- name: dashboard\n  rules:\n"
	n := 0
	for _, p := range d.Panels {
		for _, q := range p.Targets {
			rules += fmt.Sprintf("  - record: query:%d\n    expr: %q\n", n, fill.Replace(q.Expr))
			n++
		}
	}
	if n < 20 {
		t.Fatalf("%d queries", n)
	}
	file := filepath.Join(t.TempDir(), "dashboard.yml")
	if err := os.WriteFile(file, []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "", "check", "rules", file)
}
