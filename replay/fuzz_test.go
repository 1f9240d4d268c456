package replay

import (
	"slices"
	"strings"
	"testing"

	"github.com/earlybind/earlybind/handover"
	"github.com/earlybind/earlybind/internal/timeline"
	"github.com/earlybind/earlybind/recording"
)

// FuzzRun replays recordings that are damaged: messages are left out, doubled, out of turn, of
// another user or of other bytes. Each replay ends, tells the same each time, and one that
// observes writes nothing. To search for longer:
// go test -fuzz FuzzRun -fuzztime 10m -fuzzminimizetime 10x ./replay
func FuzzRun(f *testing.F) {
	files := []string{"lab-success", "lab-failed-in-switchover", "lab-second-attempt", "destination-thaws", "post-copy-failed", "nova-failed-local-disks", "two-guests"}
	for which := range files {
		for _, damage := range []string{"", "....x", "..d..d..d", ".s.s.s.s", "........u...u", "xxxxxxxxxxxxxx", "....b....b"} {
			f.Add(uint8(which), []byte(damage))
		}
	}
	headers, recorded := map[string]recording.Header{}, map[string][]recording.Message{}
	for _, name := range files {
		headers[name], recorded[name] = load(f, name)
	}
	f.Fuzz(func(t *testing.T, which uint8, damage []byte) {
		name := files[int(which)%len(files)]
		messages := damaged(recorded[name], damage)
		told := func(p handover.Policy) ([]Story, string) {
			stories, err := Run(t.Context(), headers[name], slices.Clone(messages), Options{Policy: p})
			if err != nil {
				t.Fatal(err)
			}
			return stories, Text(headers[name], stories)
		}
		_, once := told(handover.PolicySuspended)
		if _, again := told(handover.PolicySuspended); once != again {
			t.Fatalf("%s\nand then\n%s", once, again)
		}
		observed, _ := told(handover.PolicyObserve)
		for _, s := range observed {
			for _, m := range s.Timeline {
				if m.Who == timeline.ByEarlybind {
					t.Fatalf("observing: %s", m.What)
				}
			}
		}
	})
}

// damaged does to each message what the byte at its place says; those that are longer than the
// damage stay as they are.
func damaged(messages []recording.Message, damage []byte) []recording.Message {
	var out []recording.Message
	late := map[int][]recording.Message{} // by the place that they come behind
	for i, m := range messages {
		what := byte('.')
		if i < len(damage) {
			what = damage[i]
		}
		switch what {
		case 'x': // lost
		case 'd':
			out = append(out, m, m)
		case 's': // out of turn
			behind := min(i+1+len(damage)%5, len(messages)-1)
			late[behind] = append(late[behind], m)
		case 'u':
			m.User = "somebody"
			out = append(out, m)
		case 'r':
			m.Redelivered = true
			out = append(out, m)
		case 'b':
			m.Body = []byte(strings.Replace(string(m.Body), "compute1", "compute3", 1))
			out = append(out, m)
		case 'n':
			m.Body = []byte(`{"event_type": "libvirt.domain.started", "payload": null}`)
			out = append(out, m)
		default:
			out = append(out, m)
		}
		for _, l := range late[i] {
			l.MS = m.MS
			out = append(out, l)
		}
	}
	return out
}
