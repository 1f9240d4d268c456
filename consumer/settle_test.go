package consumer

import (
	"slices"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/handover"
	"github.com/earlybind/earlybind/wire"
)

// At level trace each message has its line before the broker lets go of it; at any
// other nothing is said. One that a handover holds has none yet.
func TestAMessageIsAcknowledgedAfterItsLine(t *testing.T) {
	const settled, acknowledged = "settled", "acknowledged"
	for level, each := range map[zerolog.Level][]string{zerolog.TraceLevel: {settled, acknowledged}, zerolog.DebugLevel: {acknowledged}} {
		rollOut(t, handover.PolicyObserve, func(t *testing.T, s *site) {
			s.session.log = audit.New(s.said, level, "r")
			want := func(after string, messages int) {
				t.Helper()
				var got []string
				for line := range strings.Lines(s.said.String()) {
					switch {
					case strings.Contains(line, string(audit.MessageSettled)):
						got = append(got, settled)
						if !strings.Contains(line, `"outcome":"done"`) || !strings.Contains(line, ", sha256 ") {
							t.Error(line)
						}
					case line == acknowledged+"\n":
						got = append(got, acknowledged)
					}
				}
				if !slices.Equal(got, slices.Repeat(each, messages)) {
					t.Errorf("at %s after %s: %q\n%s", level, after, got, s.said)
				}
			}
			source, destination := publishers()
			source.event(t, s, wire.Started, "booted")
			want("what is no migration's", 1)
			source.lists(t, s, false)
			want("a list", 2)
			s.says(t, "live_migration.rollback.start", "another")
			want("a notification that is none of ours", 3)
			destination.schema = 99
			destination.event(t, s, wire.Started, wire.Migrated)
			want("what is refused", 4)
			s.says(t, "live_migration.pre.start", dst)
			source.event(t, s, wire.Suspended, wire.Migrated)
			want("what is held", 4)
			s.novaFinishes(t)
			want("the handover's end", 8)
		})
	}
}
