package main

import (
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/earlybind/earlybind/simulated/neutron"
	"github.com/earlybind/earlybind/simulated/nova"
	"github.com/earlybind/earlybind/tests/results"
)

func TestEveryRecordingHasAnOutcome(t *testing.T) {
	streams, err := readStreams("../../handover/testdata")
	if err != nil {
		t.Fatal(err)
	}
	for _, names := range recordings {
		for _, name := range names {
			s := streams[name]
			if s.paused < 0 || s.decided < s.paused {
				t.Errorf("%s: paused at %s, decided at %s", name, s.paused, s.decided)
			}
			if (s.postCopy != never) != strings.Contains(name, "postcopy") {
				t.Errorf("%s: post-copy at %s", name, s.postCopy)
			}
			for i, m := range s.moments {
				if m.at < 0 || i > 0 && (m.at < s.moments[i-1].at || m.at-s.moments[i-1].at > longestGap) {
					t.Errorf("%s: moment %d is at %s", name, i, m.at)
				}
				if !m.returned && (m.event == "" || m.detail == "" || m.detail == "unknown") {
					t.Errorf("%s: moment %d is %s/%s", name, i, m.event, m.detail)
				}
			}
		}
	}
}

// A seed gives the same handovers again, half of them failing, and every fault.
func TestPlans(t *testing.T) {
	const n = 1000
	fails := outcomes(7, n)
	if got := outcomes(7, n); !slices.Equal(got, fails) {
		t.Error("another order")
	}
	failed, met := 0, map[fault]int{}
	for i, f := range fails {
		if f {
			failed++
		}
		p := draw(7, i, f)
		if q := draw(7, i, f); q.stream != p.stream || !slices.Equal(q.faults, p.faults) || q.stagger != p.stagger || q.rng.Uint64() != p.rng.Uint64() {
			t.Errorf("handover %d is drawn otherwise the second time", i)
		}
		for _, one := range p.faults {
			met[one]++
		}
		if !f && p.has(again) {
			t.Error("a success is followed at once")
		}
		if p.stagger < -300e6 || p.stagger > 300e6 || p.stagger%25e6 != 0 {
			t.Errorf("stagger %s", p.stagger)
		}
	}
	if failed != n/2 {
		t.Errorf("%d fail", failed)
	}
	for _, one := range []fault{race, duplicates, late, hourOld, lost, dropped, again} {
		if met[one] < 30 {
			t.Errorf("%s: %d times", one, met[one])
		}
	}
}

// A file of results from before there were stream faults is still read, and its
// seed gives its handovers: the same recordings, with the same faults and new ones.
func TestOldResults(t *testing.T) {
	records, balances, err := load("../../docs/measurements/2025.1-chaos.jsonl", "2025.1")
	if err != nil || len(records) != 1000 {
		t.Fatalf("%d records, %d accounts, %v", len(records), len(balances), err)
	}
	fails := outcomes(records[0].Seed, 1000)
	for _, r := range records {
		p := draw(r.Seed, r.Number, fails[r.Number])
		if p.fails != r.Fails || p.stream != r.Stream || p.shared != r.Shared {
			t.Fatalf("handover %d is %+v, and was %+v", r.Number, p, r)
		}
		for _, f := range []fault{race, duplicates, late, lost, again} {
			if p.has(f) != slices.Contains(r.Faults, f) {
				t.Fatalf("handover %d: %q, and was %q", r.Number, p.faults, r.Faults)
			}
		}
	}
}

// A short run meets every fault of the cloud.
func TestARoundBeginsWithOneOfEach(t *testing.T) {
	deck := clusterDeck
	all := round(rand.New(rand.NewPCG(1, 2)), deck)
	times := map[fault]int{}
	for i, f := range all {
		if times[f]++; i < len(deck) && times[f] > 1 {
			t.Errorf("%s comes twice in %q", f, all[:len(deck)])
		}
	}
	for _, card := range deck {
		if times[card.fault] != card.times {
			t.Errorf("%s: %d times", card.fault, times[card.fault])
		}
	}
}

// A request tells which replica has made it, and one of a replica that has been cut
// off for longer than its lease is found.
func TestProxyFindsWhoWritesWithoutItsLease(t *testing.T) {
	cloud := neutron.New()
	defer cloud.Close()
	p, err := startProxy(neutron.Transport{Handler: cloud.Handler()}, newServing())
	if err != nil {
		t.Fatal(err)
	}
	defer p.server.Close()
	write := func(replica, method string) {
		t.Helper()
		through, err := url.Parse(p.urlFor(replica))
		if err != nil {
			t.Fatal(err)
		}
		transport := &http.Transport{Proxy: http.ProxyURL(through), DisableKeepAlives: true}
		request, _ := http.NewRequestWithContext(t.Context(), method, "http://controller:9696/v2.0/ports/"+nova.NewUUID()+"/bindings/compute2/activate", nil)
		answer, err := transport.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
	}
	p.cutOff("consumer1", time.Now().Add(-leaseFor))
	p.cutOff("consumer2", time.Now().Add(-time.Minute))
	write("consumer1", http.MethodPut)
	write("consumer2", http.MethodGet)
	if err := p.verdict(); err != nil {
		t.Error(err)
	}
	write("consumer2", http.MethodPut)
	p.cutOff("consumer2", time.Time{})
	write("consumer2", http.MethodPut)
	if err := p.verdict(); err == nil || !strings.Contains(err.Error(), "consumer2: PUT") || len(p.strays) != 1 {
		t.Errorf("%v", err)
	}
}

func TestTableAndVerdict(t *testing.T) {
	records := []record{
		{Right: true, AtOnce: true, Faults: []fault{calm}},
		{Right: true, ToRightMS: 1500, Fails: true, Faults: []fault{race, kill}},
	}
	if err := verdict(records); err != nil {
		t.Error(err)
	}
	records = append(records, record{Number: 17, Faults: []fault{race}, Why: "no row is ACTIVE", Hurt: []string{"row missing"}})
	err := verdict(records)
	for _, part := range []string{"1 ended wrong", "handover 17", "no row is ACTIVE", "row missing"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%v lacks %q", err, part)
		}
	}
	if err != nil && strings.Count(err.Error(), "\n") != 1 {
		t.Errorf("a handover that ended right is in %v", err)
	}
	if err := verdict([]record{{Right: true, Hurt: []string{"x"}}}); err == nil {
		t.Error("what hurts Nova is let pass")
	}
	want := string(race) + " 2 0 1 1 1 0 0 1.5 / 1.5"
	if text := strings.Join(strings.Fields(table(records)), " "); !strings.Contains(text, want) {
		t.Errorf("%q lacks %q", text, want)
	}
}

// What is in the file is not played again.
func TestResume(t *testing.T) {
	name := t.TempDir() + "/results.jsonl"
	file, err := results.Open[any](name)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []any{
		record{Release: "zed", Seed: 3, Number: 1}, record{Release: "2025.1", Seed: 4, Number: 2},
		accountLine{Release: "2025.1", Seed: 4, Account: &balance{Messages: 7}}, accountLine{Release: "zed", Seed: 3, Account: &balance{}},
	} {
		if err := file.Save(r); err != nil {
			t.Fatal(err)
		}
	}
	file.Close()
	records, balances, err := load(name, "2025.1")
	if err != nil || len(records) != 1 || records[0].Number != 2 || len(balances) != 1 || balances[0].Messages != 7 {
		t.Errorf("%+v, %+v, %v", records, balances, err)
	}
	s := settings{results: name}
	if err := s.chooseSeed(records); err != nil || s.seed != 4 {
		t.Errorf("seed %d, %v", s.seed, err)
	}
	s.seed = 5
	if s.chooseSeed(records) == nil {
		t.Error("another seed is taken")
	}
}
