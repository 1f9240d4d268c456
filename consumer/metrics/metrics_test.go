package metrics

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/binding"
	"github.com/earlybind/earlybind/handover"
	"github.com/earlybind/earlybind/port"
)

func fresh() (*Consumer, *prometheus.Registry) {
	r := prometheus.NewPedanticRegistry()
	return NewConsumer(r, handover.Drivers(handover.DriverOverrides{"acme": handover.PolicyResumed})), r
}

// samples gives what is not 0, as "name{label="value"} value"; of a histogram its sum.
func samples(t *testing.T, g prometheus.Gatherer) []string {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
			}
			value := m.GetCounter().GetValue() + m.GetGauge().GetValue()
			if h := m.GetHistogram(); h.GetSampleCount() > 0 {
				value = h.GetSampleSum()
				labels = append(labels, fmt.Sprintf("n=%d", h.GetSampleCount()))
			} else if value == 0 {
				continue
			}
			out = append(out, strings.TrimPrefix(f.GetName(), "earlybind_")+fmt.Sprintf("{%s} %g", strings.Join(labels, ","), value))
		}
	}
	return out
}

const cell = "rabbit1:5672"

// What every line of the audit log is counted as, beside earlybind_audit_lines_total.
func TestWhatALineIsCountedAs(t *testing.T) {
	secret := audit.Handover{Instance: "uuid", RequestID: "req-hunter2", Source: "compute1", Destination: "compute2"}
	for name, c := range map[string]struct {
		line audit.Line
		want []string
	}{
		"a handover begins":  {audit.Line{Event: audit.HandoverBegun}, []string{"handovers_under_way 1"}},
		"an alarm":           {audit.Line{Event: audit.HandoverAlarm, Kind: audit.AlarmDown}, []string{`alarms_total{cell="C",kind="down"} 1`}},
		"of no known kind":   {audit.Line{Event: audit.HandoverAlarm, Kind: "news"}, nil},
		"a goal":             {audit.Line{Event: audit.PortDecided, Decided: "commit"}, []string{`ports_decided_total{cell="C",goal="commit"} 1`}},
		"hands off":          {audit.Line{Event: audit.PortDecided, Decided: "hold"}, []string{`ports_decided_total{cell="C",goal="hold"} 1`}},
		"a restore is right": {audit.Line{Event: audit.PortVerified, Decided: "restore", Outcome: "rows right"}, []string{`ports_verified_total{cell="C",goal="restore",outcome="right"} 1`}},
		"and is not":         {audit.Line{Event: audit.PortVerified, Decided: "restore", Outcome: "rows wrong: no row"}, []string{`ports_verified_total{cell="C",goal="restore",outcome="wrong"} 1`}},
		"cannot be read":     {audit.Line{Event: audit.PortVerified, Decided: "verify", Err: errors.New("503")}, []string{`ports_verified_total{cell="C",goal="verify",outcome="unread"} 1`}},
		"has gone":           {audit.Line{Event: audit.PortVerified, Decided: "verify", Outcome: "gone"}, []string{`ports_verified_total{cell="C",goal="verify",outcome="gone"} 1`}},
		"a step of it":       {audit.Line{Event: audit.PortVerified, Decided: "wait"}, nil},
		"a look after it":    {audit.Line{Event: audit.PortVerified, Outcome: "rows right"}, nil},
		"a parked message":   {audit.Line{Event: audit.MessageParked, Kind: audit.FaultEnvelope, Why: "x"}, []string{`messages_parked_total{cell="C",kind="envelope"} 1`}},
		"a failed migration": {
			audit.Line{Event: audit.HandoverEnded, Outcome: "restored", Driver: "ovn", Figures: map[string]int64{"pause_to_active_ms": 80, "reaction_ms": 3}},
			[]string{`handovers_total{cell="C",outcome="restored"} 1`, "handovers_under_way -1"},
		},
		"one that was activated early": {
			audit.Line{Event: audit.HandoverEnded, Outcome: "migrated", Driver: "openvswitch", Figures: map[string]int64{
				"lead_ms": 1500, "pause_to_arrival_ms": 400, "pause_to_activate_ms": 500, "pause_to_active_ms": 750, "pause_to_nova_ms": 2250, "reaction_ms": 2,
			}},
			[]string{
				`handovers_total{cell="C",outcome="migrated"} 1`, "handovers_under_way -1",
				`lead_seconds{driver="openvswitch",n=1} 1.5`, `pause_to_active_seconds{driver="openvswitch",n=1} 0.75`,
				`pause_to_nova_seconds{driver="openvswitch",n=1} 2.25`, "reaction_seconds{n=1} 0.002",
			},
		},
		"Nova was first": {
			audit.Line{Event: audit.HandoverEnded, Outcome: "migrated", Driver: "acme", Figures: map[string]int64{"lead_ms": -250}},
			[]string{`handovers_total{cell="C",outcome="migrated"} 1`, "handovers_under_way -1", `lead_seconds{driver="acme",n=1} -0.25`},
		},
		"one that was observed": {
			audit.Line{Event: audit.HandoverEnded, Outcome: "migrated", Driver: "Vendor's own, v2", Figures: map[string]int64{"would_lead_suspended_ms": 3000, "would_lead_resumed_ms": 2500}},
			[]string{
				`handovers_total{cell="C",outcome="migrated"} 1`, "handovers_under_way -1",
				`would_lead_seconds{driver="other",policy="resumed",n=1} 2.5`, `would_lead_seconds{driver="other",policy="suspended",n=1} 3`,
			},
		},
		"no driver was shown": {
			audit.Line{Event: audit.HandoverEnded, Outcome: "migrated", Figures: map[string]int64{"pause_to_nova_ms": 1000}},
			[]string{`handovers_total{cell="C",outcome="migrated"} 1`, "handovers_under_way -1", `pause_to_nova_seconds{driver="unknown",n=1} 1`},
		},
		"of several drivers": {
			audit.Line{Event: audit.HandoverEnded, Outcome: "migrated", Driver: audit.DriverMixed, Figures: map[string]int64{"lead_ms": 1000}},
			[]string{`handovers_total{cell="C",outcome="migrated"} 1`, "handovers_under_way -1", `lead_seconds{driver="mixed",n=1} 1`},
		},
		"of no known outcome":   {audit.Line{Event: audit.HandoverEnded, Outcome: "new"}, []string{"handovers_under_way -1"}},
		"an event without more": {audit.Line{Event: audit.EvidenceSeen, Saw: "libvirt: resumed/migrated"}, nil},
	} {
		m, r := fresh()
		m.Cell(cell, "", func() Standing { return Standing{} })
		c.line.Handover, c.line.Port, c.line.Host = secret, "port-hunter2", "compute1"
		m.Count(cell, "", c.line)
		want := []string{fmt.Sprintf(`audit_lines_total{cell="C",event="%s"} 1`, c.line.Event)}
		for _, w := range c.want {
			want = append(want, strings.Replace(w, "handovers_under_way ", `handovers_under_way{cell="C",share=""} `, 1))
		}
		slices.Sort(want)
		got := samples(t, r)
		for i := range got {
			got[i] = strings.ReplaceAll(got[i], cell, "C")
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s:\ngot  %q\nwant %q", name, got, want)
		}
	}
}

func TestNoHandoverIsUnderWayWhenItsSessionHasEnded(t *testing.T) {
	for _, end := range []audit.Event{audit.ConsumerLost, audit.ConsumerStopped} {
		m, r := fresh()
		m.Cell("", "", func() Standing { return Standing{} })
		underWay := func(want float64) {
			t.Helper()
			if got := value(t, r, "earlybind_handovers_under_way"); got != want {
				t.Errorf("%g under way, want %g", got, want)
			}
		}
		for _, e := range []audit.Event{audit.HandoverBegun, audit.HandoverBegun, audit.HandoverEnded} {
			m.Count("", "", audit.Line{Event: e})
		}
		underWay(1)
		m.Count("", "", audit.Line{Event: end})
		underWay(0)
	}
}

// What happens in all shares of a cell is counted together; each has its own handovers.
func TestSharesAreCountedTogetherAndStandApart(t *testing.T) {
	m, r := fresh()
	for _, share := range []string{"1 of 2", "2 of 2"} {
		m.Cell(cell, share, func() Standing { return Standing{} })
		m.Count(cell, share, audit.Line{Event: audit.HandoverBegun})
	}
	m.Count(cell, "2 of 2", audit.Line{Event: audit.ConsumerStopped})
	want := []string{
		fmt.Sprintf(`audit_lines_total{cell=%q,event="consumer.stopped"} 1`, cell),
		fmt.Sprintf(`audit_lines_total{cell=%q,event="handover.begun"} 2`, cell),
		fmt.Sprintf(`handovers_under_way{cell=%q,share="1 of 2"} 1`, cell),
	}
	if got := samples(t, r); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

// value gives the one sample of a metric.
func value(t *testing.T, g prometheus.Gatherer, name string) float64 {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if m := f.GetMetric(); f.GetName() == name && len(m) == 1 {
			return m[0].GetCounter().GetValue() + m[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("not one sample of %s", name)
	return 0
}

// An alert on the increase of a counter sees the first one only if it was 0 before.
func TestWhatAlertsAskForIsThereFromTheStart(t *testing.T) {
	m, r := fresh()
	m.Cell(cell, "2 of 4", func() Standing {
		return Standing{Active: true, Held: 3, JournalRead: true, Journal: 2, JournalAge: time.Minute, StoppedPairs: 1, PausedHosts: 2}
	})
	for name, want := range map[string]int{
		"alarms_total": 5, "messages_parked_total": 3, "messages_refused_total": 2, "messages_total": 5, "handovers_total": 5, "ports_decided_total": 4,
		"ports_verified_total": 8, "audit_lines_total": len(audit.Events()), "neutron_requests_total": len(actions) * len(results),
		"neutron_request_duration_seconds": len(actions), "consumer_active": 1, "breaker_open": 2, "journal_entries": 1,
	} {
		if n, err := testutil.GatherAndCount(r, "earlybind_"+name); err != nil || n != want {
			t.Errorf("%s: %d series, want %d, %v", name, n, want, err)
		}
	}
	want := `
# HELP earlybind_breaker_open Pairs of hosts, or drivers, whose commits this replica has stopped or lets through on trial only.
# TYPE earlybind_breaker_open gauge
earlybind_breaker_open{cell="rabbit1:5672",circuit="driver",share="2 of 4"} 0
earlybind_breaker_open{cell="rabbit1:5672",circuit="hosts",share="2 of 4"} 1
# HELP earlybind_consumer_active Whether this replica acts for the share of the cell: its queue delivers to it, and it may write.
# TYPE earlybind_consumer_active gauge
earlybind_consumer_active{cell="rabbit1:5672",share="2 of 4"} 1
# HELP earlybind_journal_oldest_age_seconds The age of the oldest entry of the journal, of the replica that acts; 0 where there is none.
# TYPE earlybind_journal_oldest_age_seconds gauge
earlybind_journal_oldest_age_seconds{cell="rabbit1:5672",share="2 of 4"} 60
# HELP earlybind_consumer_paused What an operator has paused, as this replica knows it: whether all commits (1 too where that is not known), and how many hosts'.
# TYPE earlybind_consumer_paused gauge
earlybind_consumer_paused{cell="rabbit1:5672",scope="all",share="2 of 4"} 0
earlybind_consumer_paused{cell="rabbit1:5672",scope="hosts",share="2 of 4"} 2
`
	if err := testutil.GatherAndCompare(r, strings.NewReader(want), "earlybind_consumer_paused", "earlybind_breaker_open", "earlybind_consumer_active", "earlybind_journal_oldest_age_seconds"); err != nil {
		t.Error(err)
	}
}

func TestAReplicaThatStandsBySaysNothingOfTheJournal(t *testing.T) {
	m, r := fresh()
	m.Cell("", "", func() Standing { return Standing{} })
	if n, err := testutil.GatherAndCount(r, "earlybind_journal_entries", "earlybind_journal_oldest_age_seconds"); err != nil || n != 0 {
		t.Errorf("%d series, %v", n, err)
	}
}

func TestMessagesAreCountedByKind(t *testing.T) {
	m, r := fresh()
	c := m.Cell("", "", func() Standing { return Standing{} })
	for _, kind := range []Message{Event, Event, Tick, Other} {
		c.Took(kind)
	}
	c.Refused(audit.FaultSchema)
	want := []string{
		`messages_refused_total{cell="",kind="schema"} 1`, `messages_total{cell="",kind="event"} 2`,
		`messages_total{cell="",kind="other"} 1`, `messages_total{cell="",kind="tick"} 1`,
	}
	if got := samples(t, r); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestRequestsAreCountedByWhatCameOfThem(t *testing.T) {
	fail := func(status int, kind string, err error) error {
		return fmt.Errorf("wrapped: %w", &binding.Error{Op: binding.OpActivate, Status: status, Type: kind, Err: err})
	}
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"answered":        {nil, "ok"},
		"was ACTIVE":      {fail(http.StatusConflict, "PortBindingAlreadyActive", nil), "already_active"},
		"another 409":     {fail(http.StatusConflict, "PortBindingAlreadyExists", nil), "4xx"},
		"has gone":        {errors.Join(port.ErrGone, fail(http.StatusNotFound, "PortNotFound", nil)), "4xx"},
		"failed":          {fail(http.StatusInternalServerError, "HTTPInternalServerError", nil), "5xx"},
		"a proxy's word":  {fail(http.StatusBadGateway, "", nil), "5xx"},
		"timed out":       {fail(0, "", context.DeadlineExceeded), "no_answer"},
		"not waited for":  {fail(0, "", context.Canceled), "abandoned"},
		"withheld":        {fail(0, "", binding.ErrWithheld), "withheld"},
		"a 200 that lies": {fail(http.StatusOK, "", nil), "other"},
		"not Neutron's":   {errors.New("x"), "other"},
	} {
		m, r := fresh()
		m.Request(ActionActivate, time.Now(), c.err)
		want := []string{fmt.Sprintf(`neutron_requests_total{action="activate",result="%s"} 1`, c.want)}
		got := slices.DeleteFunc(samples(t, r), func(s string) bool { return strings.HasPrefix(s, "neutron_request_duration") })
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q", name, got)
		}
		timed := len(samples(t, r)) == 2
		if timed != (c.want != "withheld") {
			t.Errorf("%s: timed %t", name, timed)
		}
	}
}

func TestReplicasThatAreSetUpDifferentlyAreToldApart(t *testing.T) {
	m, r := fresh()
	m.Settings("auto", "own", true)
	want := []string{`consumer_info{concurrent_activate="safe",policy="auto",repair="own"} 1`}
	if got := samples(t, r); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestNilTakesEverything(t *testing.T) {
	var m *Consumer
	m.Count("", "", audit.Line{Event: audit.HandoverBegun})
	m.Settings("auto", "own", true)
	m.Request(ActionRead, time.Now(), nil)
	c := m.Cell("", "", nil)
	c.Took(Tick)
	c.Refused(audit.FaultSchema)
}

// The lines that are written before an activate are counted before it.
func TestCountingAllocatesNothing(t *testing.T) {
	m, _ := fresh()
	seen, decided := audit.Line{Event: audit.EvidenceSeen}, audit.Line{Event: audit.PortDecided, Decided: "commit"}
	m.Cell("", "", nil)
	if n := testing.AllocsPerRun(100, func() { m.Count("", "", seen); m.Count("", "", decided) }); n != 0 {
		t.Errorf("%g allocations", n)
	}
}

func BenchmarkCount(b *testing.B) {
	m := NewConsumer(prometheus.NewRegistry(), nil)
	line := audit.Line{Event: audit.PortDecided, Decided: "commit"}
	b.ReportAllocs()
	for b.Loop() {
		m.Count("", "", line)
	}
}
