package replay

import (
	"context"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/earlybind/earlybind/handover"
	"github.com/earlybind/earlybind/internal/timeline"
	"github.com/earlybind/earlybind/recording"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var update = flag.Bool("update", false, "write the golden files anew")

const (
	shipped = "../recordings"
	golden  = "testdata/golden"
)

func load(t testing.TB, name string) (recording.Header, []recording.Message) {
	t.Helper()
	file, err := os.Open(filepath.Join(shipped, name+".jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	header, messages, err := recording.Read(file)
	if err != nil {
		t.Fatal(err)
	}
	return header, messages
}

func replayed(t *testing.T, name string, o Options) []Story {
	t.Helper()
	header, messages := load(t, name)
	stories, err := Run(t.Context(), header, messages, o)
	if err != nil {
		t.Fatal(err)
	}
	return stories
}

func names(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(shipped, "*.jsonl"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d recordings, %v", len(files), err)
	}
	for i, f := range files {
		files[i] = strings.TrimSuffix(filepath.Base(f), ".jsonl")
	}
	return files
}

// go test ./replay -update writes what a change of the consumer makes of the recordings.
func TestEveryRecordingTellsItsStory(t *testing.T) {
	files := 0
	for _, name := range names(t) {
		for _, policy := range []handover.Policy{handover.PolicyAuto, handover.PolicySuspended} {
			files++
			t.Run(name+"/"+policy.String(), func(t *testing.T) {
				header, _ := load(t, name)
				got := Text(header, replayed(t, name, Options{Policy: policy}))
				file := filepath.Join(golden, name+"."+policy.String()+".txt")
				if *update {
					if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				if got != string(want) {
					t.Errorf("got\n%s\nwant\n%s", got, want)
				}
			})
		}
	}
	if found, err := filepath.Glob(filepath.Join(golden, "*")); err != nil || len(found) != files {
		t.Errorf("%d golden files for %d replays, %v", len(found), files, err)
	}
}

// sourceIfTold: Nova gives the instance up without a roll-back, so that the destination's row stays:
// on the source it is right, or an alarm has told what is left.
const sourceIfTold = "told"

// Where the guest was at each recording's end, as whoever recorded it has seen: there its
// ports are to be.
var (
	ends = map[string]string{
		"success": "compute2", "slow-switchover": "compute2", "two-guests": "compute2", "post-copy": "compute2",
		"forced-pause": "compute2", "paused-guest": "compute2", "nova-success": "compute1", "nova-success-local-disks": "compute2",
		"aborted-in-pre-copy": "compute1", "aborted-in-switchover": "compute1", "failed-in-switchover": "compute1",
		"failed-in-finish": "compute1", "network-cut": "compute1", "destination-libvirtd-killed": "compute1",
		"source-libvirtd-killed": "compute1", "nova-failed": "compute1", "nova-failed-local-disks": "compute1", "nova-aborted": "compute1",
		// The guest is nowhere; Nova rolls back, and has the instance there.
		"source-qemu-killed": "compute1",
		"lab-success":        "compute2", "lab-back-to-back": "compute2", "lab-second-attempt": "compute2",
		"lab-aborted-in-pre-copy": "compute1", "lab-aborted-in-switchover": "compute1",
		"lab-failed-in-pre-copy": "compute1", "lab-failed-in-switchover": "compute1", "lab-failed-in-finish": "compute1",
		"lab-destination-libvirtd-killed": "compute1", "lab-destination-frozen": "compute1",
		"lab-destination-libvirtd-restarted": "compute1", "lab-destination-thaws": "compute1",
		"lab-source-libvirtd-killed": sourceIfTold, "lab-source-libvirtd-restarted": sourceIfTold, "lab-source-qemu-killed": sourceIfTold,
		"lab-network-cut-long": "compute1", "lab-network-cut-left-paused": sourceIfTold, "lab-network-cut": sourceIfTold,
		"lab-paused-guest": "compute2", "lab-force-completed": "compute2", "lab-post-copy": "compute2",
	}
	// By instance.
	endsOfTwo = map[string]map[string]string{
		"lab-two-guests-publisher-restarted": {"52a29486-f502-4a47-8198-bc08e6ba1800": "compute1", "28705d55-9f51-4f44-be46-b16ea45681f8": "compute2"},
		"lab-two-guests":                     {"f5359f68-d27f-457a-a4ab-7ea5f33dc28d": "compute2", "90b47626-f914-4dad-a5e6-4fd9deb258e9": "compute1"},
	}
	// The guest is on both hosts, or on none: the rows as they are when that shows. At SUSPENDED/POSTCOPY
	// Nova activates the destination's.
	endsNowhere = map[string]string{
		"destination-thaws":    "compute1 ACTIVE ovs",
		"lab-runs-on-both":     "compute1 ACTIVE ovs",
		"post-copy-failed":     "compute1 INACTIVE unbound, compute2 ACTIVE ovs",
		"lab-post-copy-failed": "compute1 INACTIVE unbound, compute2 ACTIVE ovs",
	}
	noMigration = "no-migration"

	policies = []handover.Policy{handover.PolicyObserve, handover.PolicyAuto, handover.PolicySuspended, handover.PolicyResumed}
)

func TestOfEachRecordingItIsSaidWhereItsGuestIs(t *testing.T) {
	said := slices.Concat([]string{noMigration}, slices.Collect(maps.Keys(ends)), slices.Collect(maps.Keys(endsOfTwo)), slices.Collect(maps.Keys(endsNowhere)))
	slices.Sort(said)
	if recorded := slices.Sorted(slices.Values(names(t))); !slices.Equal(said, recorded) {
		t.Errorf("said of %q,\nrecorded are %q", said, recorded)
	}
}

// alarm gives the place of a story's alarm in its timeline; -1 if there is none.
func alarm(s Story) int {
	return slices.IndexFunc(s.Timeline, func(m timeline.Moment) bool { return strings.HasPrefix(m.What, "handover.alarm ") })
}

func TestPortsEndWhereTheGuestIs(t *testing.T) {
	for name, want := range ends {
		for _, policy := range policies {
			stories := replayed(t, name, Options{Policy: policy})
			if len(stories) == 0 {
				t.Errorf("%s: no handover", name)
			}
			for _, s := range stories {
				if s.Outcome == "" {
					t.Errorf("%s, %s: has not ended", name, policy)
				}
				if told := alarm(s) >= 0; told != (s.Outcome == "wrong") {
					t.Errorf("%s, %s: %s, and alarmed: %t", name, policy, s.Outcome, told)
				}
				for _, row := range s.Rows {
					if want == sourceIfTold {
						if !strings.Contains(row, ": compute1 ACTIVE ovs, compute2 INACTIVE ") || !strings.HasSuffix(row, "; status ACTIVE") {
							t.Errorf("%s, %s: %s, want it on compute1, and the row that Nova has left", name, policy, row)
						}
						continue
					}
					if !strings.HasSuffix(row, ": "+want+" ACTIVE ovs; status ACTIVE") {
						t.Errorf("%s, %s: %s, want it on %s alone", name, policy, row, want)
					}
				}
			}
		}
	}
}

func TestTwoGuestsEndEachWhereItIs(t *testing.T) {
	for name, where := range endsOfTwo {
		for _, policy := range policies {
			stories := replayed(t, name, Options{Policy: policy})
			if len(stories) != len(where) {
				t.Errorf("%s, %s: %d handovers", name, policy, len(stories))
			}
			for _, s := range stories {
				for _, row := range s.Rows {
					if !strings.HasSuffix(row, ": "+where[s.Instance]+" ACTIVE ovs; status ACTIVE") {
						t.Errorf("%s, %s: %s: %s", name, policy, s.Instance, row)
					}
				}
			}
		}
	}
}

// Where no host is the right one nothing is flipped: one alarm tells of it, and after it nothing is
// written.
func TestWhereTheGuestIsOnNoOneHostAnAlarmTellsAndRowsStay(t *testing.T) {
	for name, want := range endsNowhere {
		for _, policy := range policies {
			// A host that has been away begins another handover: the alarm is the last one's.
			stories := replayed(t, name, Options{Policy: policy})
			if len(stories) == 0 || len(stories[len(stories)-1].Rows) == 0 {
				t.Fatalf("%s, %s: %d handovers", name, policy, len(stories))
			}
			s := stories[len(stories)-1]
			for _, before := range stories[:len(stories)-1] {
				if alarm(before) >= 0 {
					t.Errorf("%s, %s: an alarm before the last handover", name, policy)
				}
			}
			told := alarm(s)
			if told < 0 {
				t.Errorf("%s, %s: %s, and no alarm", name, policy, s.Outcome)
				continue
			}
			for _, m := range s.Timeline[told+1:] {
				if m.Who == timeline.ByEarlybind || strings.HasPrefix(m.What, "handover.alarm ") {
					t.Errorf("%s, %s: after the alarm %s", name, policy, m.What)
				}
			}
			for _, row := range s.Rows {
				if !strings.HasSuffix(row, ": "+want+"; status ACTIVE") {
					t.Errorf("%s, %s: %s, want %s", name, policy, row, want)
				}
			}
		}
	}
}

func TestObservingWritesNothing(t *testing.T) {
	for _, name := range names(t) {
		for _, s := range replayed(t, name, Options{Policy: handover.PolicyObserve}) {
			for _, m := range s.Timeline {
				if m.Who == timeline.ByEarlybind {
					t.Errorf("%s: %s", name, m.What)
				}
			}
		}
	}
}

func TestNothingIsWrittenOfWhatIsNoMigration(t *testing.T) {
	if stories := replayed(t, noMigration, Options{Policy: handover.PolicySuspended}); len(stories) != 0 {
		t.Errorf("%+v", stories)
	}
}

// At a given speed the same happens, in the recording's time divided by it; here time is
// synctest's.
func TestSpeed(t *testing.T) {
	for speed, longest := range map[float64]time.Duration{1: 25 * time.Second, 10: 2500 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			header, messages := load(t, "failed-in-switchover")
			began := time.Now()
			followed, latest := 0, -time.Hour
			stories, err := Run(t.Context(), header, messages, Options{
				Policy: handover.PolicySuspended, Speed: speed,
				Follow: func(at time.Duration, _, _, _ string) {
					if followed++; at < latest {
						t.Errorf("goes back to %s from %s", at, latest)
					}
					latest = at
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			took := time.Since(began)
			if told := len(stories[0].Timeline); followed != told {
				t.Errorf("%d moments followed, %d told", followed, told)
			}
			recorded := messages[len(messages)-1].At()
			if least := time.Duration(float64(min(recorded, longestGap)) / speed); took < least || took > longest {
				t.Errorf("speed %v: took %s, at least %s and at most %s", speed, took, least, longest)
			}
			if got, want := Text(header, stories), Text(header, replayed(t, "failed-in-switchover", Options{Policy: handover.PolicySuspended})); got != want {
				t.Errorf("speed %v:\n%s\nwant\n%s", speed, got, want)
			}
		})
	}
}

func TestAReplayThatIsEndedSaysSo(t *testing.T) {
	header, messages := load(t, "no-migration")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Run(ctx, header, messages, Options{}); err != context.Canceled {
		t.Errorf("%v", err)
	}
}
