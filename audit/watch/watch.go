package watch

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/audit/report"
)

// redraw is how often a frame is drawn, at most, if it has changed.
const redraw = 250 * time.Millisecond

// Options say how to show.
type Options struct {
	Outcomes int  // how many of the last
	Terminal bool // draw frames in place; else one line for each change
	Colour   bool
	Size     func() Size // of the terminal
	// Silent is told once of each log that has not had a line within a few seconds.
	Silent func(name string)
	// CaughtUp is told once, without a terminal, how many handovers the logs have when what is there already was read:
	// those that have ended, and those that go on.
	CaughtUp func(ended, going int)
}

// Read is what was read until the end.
type Read struct {
	Lines   int
	Skipped audit.Skipped
}

// ahead is how many lines of a source may wait for others.
const ahead = 10_000

// said is what a source says.
type said struct {
	source int
	item
}

// item is a line, or that a source has caught up, or its end.
type item struct {
	entry    audit.Entry
	caughtUp bool
	end      *ended
}

type ended struct {
	name    string
	skipped audit.Skipped
	err     error
}

// Run shows what the sources say, until all have ended, one fails, or the context ends,
// which is no error. A source that waits for its next line is then left alone.
func Run(ctx context.Context, sources []Source, out io.Writer, o Options) (r Read, err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	items := make(chan said)
	room := make([]chan struct{}, len(sources)) // of each, for lines that wait
	for n, s := range sources {
		room[n] = make(chan struct{}, ahead)
		put := func(i item) {
			select {
			case room[n] <- struct{}{}:
			case <-ctx.Done():
				return
			}
			select {
			case items <- said{n, i}:
			case <-ctx.Done():
			}
		}
		go func() {
			skipped, err := s.read(ctx, func(e audit.Entry) { put(item{entry: e}) }, func() { put(item{caughtUp: true}) })
			put(item{end: &ended{s.Name, skipped, err}})
		}()
	}
	live := report.NewLive(o.Outcomes)
	var view view = &lines{out: out, live: live, changes: NewChanges(live), behind: len(sources), told: o.CaughtUp}
	if o.Terminal {
		screen, err := NewScreen(out, o.Size)
		if err != nil {
			return r, err
		}
		view = &frames{screen: screen, live: live, colour: o.Colour}
	}
	err = follow(ctx, items, room, live, view, &r, func(source int) {
		if o.Silent != nil {
			o.Silent(sources[source].Name)
		}
	})
	now := time.Now()
	if ctx.Err() == nil { // the log is at its end: what it says is as of then
		now = live.Now().To
	}
	if fault := view.close(now); err == nil {
		err = fault
	}
	return r, err
}

func follow(ctx context.Context, items <-chan said, room []chan struct{}, live *report.Live, view view, r *Read, silent func(source int)) error {
	// Time is counted in ticks: a machine that is busy elsewhere for a second makes one of
	// them, and so no log seem silent.
	now := time.Time{}
	due, heard := now.Add(firstWord), make([]bool, len(room))
	merge, open := newMerge(len(room), now), len(room)
	frame, wait := time.NewTicker(redraw), time.NewTicker(patience/2)
	defer frame.Stop()
	defer wait.Stop()
	for open > 0 {
		select {
		case <-ctx.Done():
			return nil
		case <-frame.C:
			if err := view.draw(time.Now()); err != nil {
				return err
			}
		case <-wait.C:
			now = now.Add(patience / 2)
			for source, has := range heard {
				if now.Equal(due) && !has {
					silent(source)
				}
			}
		case s := <-items:
			heard[s.source] = heard[s.source] || !s.caughtUp && s.end == nil
			merge.put(s.source, s.item, now)
		}
		for {
			i, source, ok := merge.next(now)
			if !ok {
				break
			}
			<-room[source]
			var err error
			switch {
			case i.caughtUp:
				err = view.caughtUp()
			case i.end != nil:
				open--
				r.Skipped.Add(i.end.skipped)
				if i.end.err != nil && ctx.Err() == nil {
					err = fmt.Errorf("%s: %w", i.end.name, i.end.err)
				}
			default:
				r.Lines++
				err = view.took(i.entry, live.Add(i.entry))
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// view shows what was read.
type view interface {
	took(e audit.Entry, ended []report.Outcome) error
	caughtUp() error // another source has given what it had
	draw(now time.Time) error
	close(now time.Time) error
}

// frames shows frames on a terminal.
type frames struct {
	screen *Screen
	live   *report.Live
	colour bool
}

func (f *frames) took(audit.Entry, []report.Outcome) error { return nil }

func (f *frames) caughtUp() error { return f.draw(time.Now()) }

func (f *frames) draw(now time.Time) error { return f.screen.Draw(f.frame(now)) }

func (f *frames) frame(now time.Time) func(Size) string {
	scene := f.live.Now()
	return func(size Size) string { return Frame(scene, now, size, f.colour) }
}

func (f *frames) close(now time.Time) error { return f.screen.Close(f.frame(now)) }

// lines writes a line for each change; of what was there already, for each handover that
// goes on.
type lines struct {
	out     io.Writer
	live    *report.Live
	changes *Changes
	behind  int
	told    func(ended, going int)
}

func (l *lines) took(e audit.Entry, ended []report.Outcome) error {
	said := l.changes.Of(e, ended)
	if l.behind > 0 {
		return nil
	}
	return l.write(said)
}

func (l *lines) caughtUp() error {
	if l.behind--; l.behind > 0 {
		return nil
	}
	if scene := l.live.Now(); l.told != nil && scene.Lines > 0 {
		t := scene.Totals
		l.told(t.Right+t.Mended+t.NotRight+t.Superseded+t.Unknown, len(scene.Going))
	}
	return l.write(l.changes.Standing())
}

func (l *lines) write(said []string) error {
	if len(said) == 0 {
		return nil
	}
	_, err := io.WriteString(l.out, strings.Join(said, "\n")+"\n")
	return err
}

func (l *lines) draw(time.Time) error  { return nil }
func (l *lines) close(time.Time) error { return nil }
