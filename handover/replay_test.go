package handover

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/earlybind/earlybind/port"
	"github.com/earlybind/earlybind/wire"
)

// record is a line of testdata: recorded from two libvirtd with real guests
// (libvirt 9.0.0; t13-* 11.3.0). event and detail are libvirt's numbers.
type record struct {
	Ms     float64 `json:"t_ms"`
	Host   string  `json:"host"`
	Domain string  `json:"domain"`
	Kind   string  `json:"kind"`
	Event  int     `json:"event"`
	Detail int     `json:"detail"`
}

func (r record) sign() (Sign, bool) {
	switch [2]int{r.Event, r.Detail} {
	case [2]int{2, 1}:
		return SignStarted, true
	case [2]int{3, 0}:
		return SignArrivedPaused, true
	case [2]int{3, 1}:
		return SignPaused, true
	case [2]int{3, 7}:
		return SignPostCopy, true
	case [2]int{5, 3}:
		return SignLeft, true
	}
	switch r.Event {
	case 4:
		return SignResumed, true
	case 5:
		return SignStopped, true
	}
	return 0, false
}

// piece is one guest's migration out of a stream that holds several.
type piece struct {
	file, guest string
	from, to    float64 // ms
	back        bool    // from compute2 to compute1: here the hosts change places
}

var pieces = map[string]piece{
	"h3-not-live":            {"h3-offline-and-nonlive", "g1", 4167, 5201, true},
	"i-the-later-of-two":     {"i-two-guests", "g1", 0, 4292, false},
	"i-the-earlier-of-two":   {"i-two-guests", "g2", 0, 4292, false},
	"t13-h-paused-guest":     {"t13-h-misc", "g1", 0, 7405, false},
	"t13-h-abort-precopy":    {"t13-h-misc", "g1", 7406, 9484, true},
	"t13-h-user-pause-abort": {"t13-h-misc", "g1", 9485, 12526, true},
}

// noMigrations are the streams, and what is left of those with pieces, that hold none.
var noMigrations = map[string]piece{
	"g-no-migration-ops":     {"g-no-migration-ops", "g1", 0, 1e9, false},
	"h3-offline":             {"h3-offline-and-nonlive", "g1", 0, 4166, false},
	"t13-h-save-and-restore": {"t13-h-misc", "g1", 12527, 1e9, false},
}

// migrationsRecorded names the streams and pieces of one migration each.
func migrationsRecorded(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "*.jsonl"))
	if err != nil || len(files) != 28 {
		t.Fatalf("%d streams, %v", len(files), err)
	}
	other := map[string]bool{"g-no-migration-ops": true, "m1-small-idle-x10": true} // none and ten migrations
	names := slices.Sorted(maps.Keys(pieces))
	for _, p := range pieces {
		other[p.file] = true
	}
	for _, file := range files {
		if name := strings.TrimSuffix(filepath.Base(file), ".jsonl"); !other[name] {
			names = append(names, name)
		}
	}
	return names
}

func load(t testing.TB, name string) []record {
	t.Helper()
	p, isPiece := pieces[name]
	if !isPiece {
		if p, isPiece = noMigrations[name]; !isPiece {
			return readLines[record](t, filepath.Join("testdata", name+".jsonl"))
		}
	}
	var out []record
	other := map[string]string{"compute1": "compute2", "compute2": "compute1"}
	for _, r := range readLines[record](t, filepath.Join("testdata", p.file+".jsonl")) {
		if r.Ms < p.from || r.Ms > p.to || r.Domain != p.guest && r.Kind != "connected" {
			continue
		}
		if p.back {
			r.Host = other[r.Host]
		}
		out = append(out, r)
	}
	return out
}

// told is a sign of a stream and when it came.
type told struct {
	moment time.Duration
	sign   HostSign
}

// stream puts a recorded stream into signs.
func stream(t *testing.T, name string) []told {
	t.Helper()
	sequence, connected := map[string]uint64{}, map[string]int{}
	var out []told
	for _, r := range load(t, name) {
		moment := time.Duration(r.Ms * float64(time.Millisecond))
		sequence[r.Host]++
		if r.Kind == "connected" {
			connected[r.Host]++
			if connected[r.Host] > 1 { // libvirtd was away: what is read then
				out = append(out, told{moment, listed(r.Host, sequence[r.Host], SignMissedEvents)})
				if strings.HasPrefix(name, "e6") {
					out = append(out, told{moment, listed(r.Host, sequence[r.Host], SignRunning)})
				}
			}
			continue
		}
		if sign, ok := r.sign(); ok {
			out = append(out, told{moment, at(r.Host, sequence[r.Host], sign)})
		}
	}
	return out
}

// replay feeds a stream at its own times. It answers with when, in the stream,
// each decision fell.
func replay(t *testing.T, d *drive, name string) map[time.Duration][]Decision {
	t.Helper()
	out := map[time.Duration][]Decision{}
	for _, s := range stream(t, name) {
		d.now = time.Hour + s.moment
		out[s.moment] = append(out[s.moment], d.tell(s.sign)...)
	}
	return out
}

func lab(id string) port.Port {
	p := ready(id)
	p.Rows[0].Host, p.Rows[1].Host = "compute1", "compute2"
	p.Rows[0].Profile = nil
	return p
}

func TestRecordedStreams(t *testing.T) {
	const never = 0
	for _, c := range []struct {
		name               string
		end                Phase
		suspended, resumed float64 // when each policy commits, in ms of the stream
		restore            float64 // when the restore begins
	}{
		{"a-plain-success", Left, 5379.644, 5493.043, never},
		{"e0-slow-switchover-success", Left, pausedAt, arrivedAt, never},
		{"h4-timeout-suspend-forced", Left, 2559.952, 4897.542, never},
		{"h1-migrate-with-suspend-flag", Left, 897.875, 1074.093, never},
		{"h2-paused-guest-migrated", Left, never, never, never}, // its source is silent until it has left
		{"t13-a-success", Left, pausedAt, arrivedAt, never},
		{"c2-postcopy", Left, 2463.57, 2467.587, never},
		{"d-abort-precopy", Failed, never, never, never}, // only the rows say from where
		{"d2-kill9-dst-qemu-in-precopy", Failed, never, never, never},
		{"e1-kill9-dst-qemu-at-suspend", Failed, 896.879, never, 1484.757},
		{"e2b-domjobabort-at-suspend-nopoll", Failed, 883.792, never, 11435.914},
		{"e3b-network-cut-at-suspend-nopoll", Failed, 833.15, never, 30658.674},
		{"e4-kill9-dst-libvirtd-at-suspend", Failed, 868.54, never, 1291.286},
		{"e5-kill9-src-qemu-at-suspend", Failed, 845.124, never, 1216.114},
		{"e6-kill9-src-libvirtd-at-suspend", Failed, 867.956, never, 1468.873},
		{"e7-dst-dies-in-finish-phase", Failed, 850.232, never, 9315.028},
		{"e8-dst-libvirtd-frozen-in-finish", Contradicted, 824.027, never, 31049.096},
		{"f-postcopy-kill9-dst-qemu", Lost, 2444.579, 2446.705, never},
		{"b-busy-autoconverge", Left, pausedAt, arrivedAt, never},
		{"m2-3GiB-touched", Left, pausedAt, arrivedAt, never},
		{"i-the-later-of-two", Left, 3965.177, 4044.925, never},
		{"i-the-earlier-of-two", Left, 2929.452, 3023.279, never},
		{"h3-not-live", Left, pausedAt, arrivedAt, never},
		{"e3-network-cut-at-suspend", Failed, pausedAt, never, 30721.539}, // the guest is left paused on the source, which says nothing
		{"t13-h-paused-guest", Left, never, never, never},
		{"t13-h-abort-precopy", Failed, never, never, never},
		{"t13-h-user-pause-abort", Failed, pausedAt, never, 12306.159}, // a user's pause in pre-copy looks like the switchover's
		{"t13-e1-kill9-dst-qemu-at-suspend", Failed, pausedAt, never, failedAt},
		{"t13-e2-domjobabort-at-suspend", Failed, pausedAt, never, failedAt},
	} {
		for _, policy := range []Policy{PolicyObserve, PolicySuspended, PolicyResumed} {
			t.Run(c.name+" "+policy.String(), func(t *testing.T) {
				d := newDrive(chosen(policy, RepairAll, true), lab("p1"))
				got := replay(t, d, c.name)
				wantPhase(t, d, c.end)
				if h := d.Current(); h.Source != "compute1" || h.Destination != "compute2" {
					t.Errorf("from %s to %s", h.Source, h.Destination)
				}
				want := map[Policy]float64{PolicySuspended: c.suspended, PolicyResumed: c.resumed}[policy]
				if committed := first(got, GoalCommit); !same(t, c.name, committed, want) {
					t.Errorf("commits at %s, want %v ms", committed, want)
				}
				if restored := first(got, GoalRestore); !same(t, c.name, restored, c.restore) {
					t.Errorf("restores at %s, want %v ms", restored, c.restore)
				}
				if n := len(aimed(d.log, GoalCommit)); n > 1 {
					t.Errorf("%d commits", n)
				}
			})
		}
	}
}

// Moments that are looked up in the stream.
const (
	pausedAt  = -1
	arrivedAt = -2
	failedAt  = -3
)

func same(t *testing.T, name string, got time.Duration, ms float64) bool {
	t.Helper()
	if ms < 0 {
		want := map[float64][]Sign{pausedAt: {SignPaused}, arrivedAt: {SignResumed}, failedAt: {SignResumed, SignStopped}}[ms]
		started := false
		for _, r := range load(t, name) {
			sign, ok := r.sign()
			started = started || ok && sign == SignStarted
			if ok && started && slices.Contains(want, sign) {
				ms = r.Ms
				break
			}
		}
	}
	return got == time.Duration(ms*float64(time.Millisecond))
}

func first(moments map[time.Duration][]Decision, kind GoalKind) time.Duration {
	earliest := time.Duration(0)
	for moment, decisions := range moments {
		if len(aimed(decisions, kind)) > 0 && (earliest == 0 || moment < earliest) {
			earliest = moment
		}
	}
	return earliest
}

func TestWhatIsNoMigrationBeginsNothing(t *testing.T) {
	for name := range noMigrations {
		d := newDrive(suspended, lab("p1"))
		if moments := replay(t, d, name); len(moments) == 0 || len(d.log) != 0 {
			t.Errorf("%s: %d moments, decides %+v", name, len(moments), d.log)
		}
	}
}

func TestTenMigrationsToAndFroWithoutNotifications(t *testing.T) {
	d := newDrive(suspended, lab("p1"))
	d.mute = true
	moved := false
	begun, commits := 0, 0
	sequence := map[string]uint64{}
	for _, r := range load(t, "m1-small-idle-x10") {
		sign, ok := r.sign()
		if sequence[r.Host]++; !ok {
			continue
		}
		out := d.tell(at(r.Host, sequence[r.Host], sign))
		if slices.ContainsFunc(out, func(d Decision) bool { _, ok := d.(Begin); return ok }) {
			begun++
			p := lab("p1")
			if moved {
				p.Rows[0].Host, p.Rows[1].Host = "compute2", "compute1"
			}
			moved = !moved
			d.ports = []port.Port{p}
			out = append(out, d.rows()...)
		}
		commits += len(aimed(out, GoalCommit))
		if sign == SignLeft {
			wantPhase(t, d, Left)
			d.finish(true)
			if d.Current() != nil {
				t.Fatalf("migration %d does not end", begun)
			}
		}
	}
	if begun != 10 || commits != 10 {
		t.Errorf("%d handovers with %d commits, want ten of each", begun, commits)
	}
	if got := endsIn(d.log); len(got) != 10 || slices.ContainsFunc(got, func(o Outcome) bool { return o != OutcomeMigrated }) {
		t.Errorf("ends %v", got)
	}
}

// What the hosts have really said of one migration, and Nova of its end, in
// every order that a broker can deliver.
func TestNoOrderOfARecordedStreamCommitsAfterASignThatForbidsIt(t *testing.T) {
	ends := map[bool][]Input{
		true:  {start("req", wire.NovaPost), ended("req", wire.NovaPostDest)},
		false: {start("req", wire.NovaRollback), ended("req", wire.NovaRollback)},
	}
	for _, name := range migrationsRecorded(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hosts := map[string][]Input{}
			begun, left := false, false
			for _, s := range stream(t, name) {
				if begun = begun || s.sign.Sign == SignStarted; !begun {
					continue // of the time before the migration
				}
				s.sign.Host = map[string]string{"compute1": src, "compute2": dst}[s.sign.Host]
				left = left || s.sign.Sign == SignLeft
				hosts[s.sign.Host] = append(hosts[s.sign.Host], s.sign)
			}
			commits := 0
			interleave([][]Input{append([]Input{start("req", wire.NovaPre)}, ends[left]...), withReplug(hosts[src]), hosts[dst]}, func(order []Input) {
				for i, s := range committing {
					if t.Failed() {
						return
					}
					d := newDrive(s, ready("p1"), ready("p2"))
					tellAndWatch(t, d, order, src, dst, i == 0)
					commits += len(aimed(d.log, GoalCommit))
				}
			})
			// These never pause, or their source is silent until the guest has left.
			silent := strings.HasPrefix(name, "d") || strings.Contains(name, "paused-guest") || strings.Contains(name, "abort-precopy")
			if !silent && commits == 0 {
				t.Error("no order commits: nothing was tested")
			}
		})
	}
}
