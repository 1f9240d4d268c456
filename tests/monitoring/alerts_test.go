package monitoring

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// first gives the first group of each match.
func first(pattern, text string) []string {
	var out []string
	for _, m := range regexp.MustCompile("(?m)"+pattern).FindAllStringSubmatch(text, -1) {
		out = append(out, m[1])
	}
	return out
}

func TestEveryAlertHasItsSectionInTheRunbook(t *testing.T) {
	rules := read(t, alertRules)
	alerts := first(`^ +- alert: (\w+)$`, rules)
	sections := first(`^## (Earlybind\w+)$`, read(t, runbook))
	links := first(`^ +runbook_url: https://\S+/docs/runbook\.md#(\S+)$`, rules)
	if len(alerts) < 20 || len(links) != len(alerts) {
		t.Fatalf("%d alerts, %d links", len(alerts), len(links))
	}
	for i, alert := range alerts {
		if !slices.Contains(sections, alert) {
			t.Errorf("%s has no section", alert)
		}
		if links[i] != strings.ToLower(alert) {
			t.Errorf("%s links to #%s", alert, links[i])
		}
	}
	for _, section := range sections {
		if !slices.Contains(alerts, section) {
			t.Errorf("the section %s has no alert", section)
		}
	}
}

func TestEveryAlertFiresInATest(t *testing.T) {
	fires := first(`alertname: (\w+)\n +exp_alerts:\n +- exp_labels`, read(t, alertTests))
	for _, alert := range first(`^ +- alert: (\w+)$`, read(t, alertRules)) {
		if !slices.Contains(fires, alert) {
			t.Errorf("%s fires in no test", alert)
		}
	}
}

// Whoever is woken by an alarm finds its kind there.
func TestEveryKindOfAlarmIsInTheRunbook(t *testing.T) {
	_, section, _ := strings.Cut(read(t, runbook), "## EarlybindAlarm\n")
	section, _, _ = strings.Cut(section, "\n## ")
	told := first("^\\| `(\\w+)` \\|", section)
	kinds := exported(t)["earlybind_alarms_total"].labels["kind"]
	slices.Sort(told)
	slices.Sort(kinds)
	if !slices.Equal(told, kinds) {
		t.Errorf("the runbook has %q, there are %q", told, kinds)
	}
}
