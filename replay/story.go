package replay

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/internal/clock"
	"github.com/earlybind/earlybind/internal/timeline"
	"github.com/earlybind/earlybind/recording"
)

// prelude is how long before a handover begins what happens belongs to it: the conductor
// makes the rows first.
const prelude = time.Second

// Story is one handover as it went.
type Story struct {
	Instance, Source, Destination string
	Outcome                       string // "" if it has not ended
	Timeline                      []timeline.Moment
	Rows                          []string         // of each port, at the end
	Figures                       map[string]int64 // of the audit log's last line
	happened                      []happened
	pausedAt, committedAt         time.Duration
	simulatedLead                 time.Duration // before a Nova that no notification tells of
}

// happened is a moment on the replay's clock.
type happened struct {
	at        time.Duration
	who, what string
}

// String draws the story.
func (s Story) String() string {
	var b strings.Builder
	outcome := s.Outcome
	if outcome == "" {
		outcome = "not ended"
	}
	fmt.Fprintf(&b, "instance %s, %s -> %s: %s\n", s.Instance, s.Source, s.Destination, outcome)
	b.WriteString(timeline.Text(s.Timeline))
	for _, name := range slices.Sorted(maps.Keys(s.Figures)) {
		fmt.Fprintf(&b, "%12d   %s\n", s.Figures[name], name)
	}
	if s.simulatedLead > 0 {
		fmt.Fprintf(&b, "%12d   lead_ms, before a simulated Nova\n", s.simulatedLead.Milliseconds())
	}
	for _, row := range s.Rows {
		fmt.Fprintf(&b, "%s\n", row)
	}
	return b.String()
}

// chronicle puts what happens into stories.
type chronicle struct {
	clock   *clock.Virtual
	follow  func(at time.Duration, instance, who, what string) // may be nil
	pending map[string][]happened                              // by instance, since its last handover
	open    map[string]*Story                                  // by instance, its last
	stories []*Story
}

func newChronicle(c *clock.Virtual, follow func(at time.Duration, instance, who, what string)) *chronicle {
	return &chronicle{clock: c, follow: follow, pending: map[string][]happened{}, open: map[string]*Story{}}
}

// note adds a moment of an instance.
func (c *chronicle) note(instance, who, what string) {
	h := happened{c.clock.Now(), who, what}
	if c.follow != nil {
		c.follow(h.at-origin, instance, who, what)
	}
	if s := c.open[instance]; s != nil {
		s.happened = append(s.happened, h)
		return
	}
	c.pending[instance] = append(c.pending[instance], h)
}

// request adds a request that has had its effect.
func (c *chronicle) request(instance, who, what string) {
	c.note(instance, who, what)
	s := c.open[instance]
	if s != nil && s.Outcome == "" && who == timeline.ByEarlybind && what == "PUT port bindings/"+s.Destination+"/activate: 200" {
		s.committedAt = c.clock.Now() + writeTakes/2 // when it is answered
	}
}

// simulated adds a step of Nova that no notification tells of.
func (c *chronicle) simulated(instance, what string) {
	c.note(instance, "nova (simulated)", what)
	if s := c.open[instance]; s != nil && what == stepPost && s.committedAt > 0 {
		s.simulatedLead = c.clock.Now() - s.committedAt
	}
}

// event adds what a host has said.
func (c *chronicle) event(instance, host, event, detail string) {
	who, what := timeline.OfEvent(host, event, detail)
	c.note(instance, who, what)
}

// line adds a line of the audit log.
func (c *chronicle) line(l audit.Line) {
	h := l.Handover
	if l.Event == audit.HandoverBegun {
		c.begin(h.Instance)
	}
	if who, what, ok := timeline.OfLine(l); ok {
		c.note(h.Instance, who, what)
	}
	s := c.open[h.Instance]
	if s == nil {
		return
	}
	if s.Outcome == "" {
		s.Source, s.Destination = h.Source, h.Destination
	}
	if l.Event == audit.HandoverEnded {
		s.Outcome, s.Figures = l.Outcome, l.Figures
	}
	if s.pausedAt == 0 && (l.Phase == "paused" || l.Phase == "postcopy") {
		s.pausedAt = c.clock.Now()
	}
}

// begin opens a story with what has just happened of its instance.
func (c *chronicle) begin(instance string) {
	s := &Story{Instance: instance}
	before := c.pending[instance]
	delete(c.pending, instance)
	if last := c.open[instance]; last != nil {
		i := slices.IndexFunc(last.happened, func(h happened) bool { return h.at >= c.clock.Now()-prelude })
		if i >= 0 {
			before = slices.Clone(last.happened[i:])
			last.happened = last.happened[:i]
		}
	}
	s.happened = before
	c.open[instance] = s
	c.stories = append(c.stories, s)
}

// close draws the moments from each guest's pause; where it was not seen, from the
// story's beginning.
func (c *chronicle) close(rows func(instance string) []string) []Story {
	var out []Story
	for _, s := range c.stories {
		zero := s.pausedAt
		if zero == 0 && len(s.happened) > 0 {
			zero = s.happened[0].at
		}
		for _, h := range s.happened {
			s.Timeline = append(s.Timeline, timeline.Moment{MS: float64((h.at - zero).Microseconds()) / 1000, Who: h.who, What: h.what})
		}
		if c.open[s.Instance] == s {
			s.Rows = rows(s.Instance)
		}
		out = append(out, *s)
	}
	return out
}

// Text draws what a recording says of itself and all its stories.
func Text(h recording.Header, stories []Story) string {
	var b strings.Builder
	if h.About != "" {
		fmt.Fprintf(&b, "%s\n\n", h.About)
	}
	for _, s := range stories {
		fmt.Fprintf(&b, "%s\n", s)
	}
	return b.String()
}
