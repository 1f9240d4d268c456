package report

import (
	"bytes"
	"cmp"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/earlybind/earlybind/internal/timeline"
)

// keptOnPage bounds the handovers that a page tells in full, and those that it lists:
// the last.
const keptOnPage = 100

//go:embed page.html
var pageText string

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	"stamp": stamp, "ms": humanMS, "count": count, "lines": Log.count, "or": func(a, b string) string { return cmp.Or(a, b) },
	"rounded": func(v float64) string { return fmt.Sprintf("%.1f", v) },
	"join":    func(words []string) string { return strings.Join(words, ", ") },
	"signed":  func(ms float64) string { return fmt.Sprintf("%+.0f", ms) },
}).Parse(pageText))

// page is what the template draws.
type page struct {
	Report
	Title    string
	Program  string
	Fine     bool
	Asked    bool
	Loose    bool // there are alarms of no handover, or ports of the journal
	Migrated int  // and right
	Restored int  // and right
	Bars     *bars
	Curves   []curves
	Gain     []gainRows
	Notes    []string // of the gains
	Grids    []grid
	Would    []would
	WouldDo  [][2]string // ways to switch on
	WouldNB  []string
	Told     []told
	Untold   int // that are not told for lack of room
	Listed   []listed
}

type gainRows struct {
	Gain
	Rows   []row
	Caveat []string
}

// would is what switching one driver on would gain.
type would struct {
	Prospect
	Rows []wouldRow
	Why  string
	Says []string
}

// told is a handover in full.
type told struct {
	Handover
	Class   string
	Said    string
	Lanes   *lanes
	Moments []timeline.Moment
	Numbers []number
}

type number struct {
	Name  string
	Value int64
}

// listed is a line of the list of handovers.
type listed struct {
	Handover
	Class  string
	Lead   string
	Outage string
}

// IsPage tells whether what begins so is a page of [HTML].
func IsPage(begin []byte) bool {
	return bytes.HasPrefix(begin, []byte("<!doctype html>")) && bytes.Contains(begin, []byte("<title>earlybind audit"))
}

// HTML draws a report as one page that needs nothing else: no network, no script. program
// is the name and version of what has made it.
func HTML(w io.Writer, r Report, o Options, program string) error {
	p := page{
		Report: r, Program: program, Fine: r.Fine(), Asked: o.asks(), Loose: len(r.Alarms)+len(r.Journal) > 0, Title: "all of the log",
		Migrated: count1(r, migrated), Restored: count1(r, restored), Bars: barsOf(r.Handovers),
	}
	var asked []string
	for _, a := range [][2]string{{"instance ", o.Instance}, {"port ", o.Port}, {"request ", o.RequestID}} {
		if a[1] != "" {
			asked = append(asked, a[0]+a[1])
		}
	}
	if len(asked) > 0 {
		p.Title = strings.Join(asked, ", ")
	}
	for _, g := range r.Gains {
		p.Gain = append(p.Gain, gainRows{g, slices.DeleteFunc(g.rows(), func(r row) bool { return r.Spread.Count == 0 }), g.caveat()})
		if c := curvesOf(g); c != nil {
			p.Curves = append(p.Curves, *c)
		}
	}
	if len(r.Gains) > 0 {
		p.Notes, p.Grids = gainNotes(r.Gains), r.grids()
	}
	if len(r.Prospects) > 0 && !p.Asked {
		for _, one := range r.Prospects {
			p.Would = append(p.Would, would{one, one.rows(), one.why(), one.says()})
		}
		p.WouldNB = r.prospectNotes()
		if switchable(r.Prospects) {
			p.WouldDo = waysOn(r.Prospects)
		}
	}
	for _, h := range slices.Backward(r.Handovers) {
		if len(p.Listed) < keptOnPage {
			p.Listed = append(p.Listed, listedOf(h))
		}
		if h.Verdict != NotRight && h.Verdict != Unknown && !p.Asked {
			continue
		}
		if len(p.Told) < keptOnPage {
			p.Told = append(p.Told, toldOf(h))
		} else {
			p.Untold++
		}
	}
	return pageTemplate.Execute(w, p)
}

var verdictClasses = map[Verdict]string{Right: "right", NotRight: "wrong", Superseded: "other", Unknown: "other"}

func listedOf(h Handover) listed {
	l := listed{Handover: h, Class: verdictClasses[h.Verdict]}
	if lead, told := h.Lead(); told {
		l.Lead = humanMS(lead)
	}
	if with, alone := h.Outage(); with >= 0 {
		l.Outage = humanMS(with)
	} else if alone >= 0 {
		l.Outage = "≥ " + humanMS(alone)
	}
	return l
}

func toldOf(h Handover) told {
	t := told{Handover: h, Class: verdictClasses[h.Verdict], Said: verdictWords[h.Verdict], Lanes: lanesOf(h.Timeline, h.PauseSeen), Moments: timeline.Together(h.Timeline)}
	for _, name := range slices.Sorted(maps.Keys(h.Figures)) {
		t.Numbers = append(t.Numbers, number{name, h.Figures[name]})
	}
	return t
}

// humanMS puts milliseconds into the unit that people would.
func humanMS(ms int64) string {
	d := time.Duration(ms) * time.Millisecond
	switch abs := d.Abs(); {
	case abs < time.Second:
		return fmt.Sprintf("%d ms", ms)
	case abs < time.Minute:
		return fmt.Sprintf("%.2f s", d.Seconds())
	default:
		return fmt.Sprintf("%.1f min", d.Minutes())
	}
}
