package main

import (
	"testing"
	"time"

	"github.com/earlybind/earlybind/audit/report"
)

// An audit may say of the tour that ports are DOWN after a story that cuts the guest off, and nothing else.
func TestWhatAnAuditMaySay(t *testing.T) {
	began := time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC)
	at := func(minute int) time.Time { return began.Add(time.Duration(minute) * time.Minute) }
	down := report.Handover{Verdict: report.NotRight, Outcome: "restored", Why: []string{"there was an alarm"}, Alarms: []report.Alarm{{Why: "the rows are right, but the agent on compute1 has not reported the port up within 20s"}}}
	rows, second := down, down
	rows.Alarms = []report.Alarm{{Why: "the rows are wrong"}}
	second.Why = []string{"there was an alarm", "it breaks the rule"}
	for name, c := range map[string]struct {
		first, second report.Handover // of story b, and of d
		code          int
		change        func(*report.Report)
		fine          bool
	}{
		"as it is to be":             {report.Handover{Verdict: report.Right}, down, 3, nil, true},
		"DOWN without being cut off": {down, down, 3, nil, false},
		"rows are wrong":             {report.Handover{Verdict: report.Right}, rows, 3, nil, false},
		"DOWN, and more":             {report.Handover{Verdict: report.Right}, second, 3, nil, false},
		"no end":                     {report.Handover{Verdict: report.Unknown}, down, 3, nil, false},
		"another exit status":        {report.Handover{Verdict: report.Right}, down, 0, nil, false},
		"a rule is broken":           {report.Handover{Verdict: report.Right}, down, 3, func(r *report.Report) { r.Rules = []report.Rule{{Broken: 1}} }, false},
		"an alarm beside":            {report.Handover{Verdict: report.Right}, down, 3, func(r *report.Report) { r.Alarms = down.Alarms }, false},
		"the journal":                {report.Handover{Verdict: report.Right}, down, 3, func(r *report.Report) { r.Journal = []report.Left{{}} }, false},
		"a handover is missing":      {report.Handover{Verdict: report.Right}, down, 3, func(r *report.Report) { r.Handovers = r.Handovers[1:] }, false},
	} {
		c.first.From, c.second.From = at(1), at(3)
		r := report.Report{Handovers: []report.Handover{c.first, c.second}}
		if c.change != nil {
			c.change(&r)
		}
		g := logs{ends: []time.Time{began, at(2), at(4)}}
		said, err := g.judge(r, c.code, []*sample{{Scenario: "b", Reachable: 3}, {Scenario: "d"}})
		if (err == nil) != c.fine {
			t.Errorf("%s: %s, %v", name, said, err)
		}
	}
}
