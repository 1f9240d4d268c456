package report

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/earlybind/earlybind/internal/timeline"
)

// Plots are drawn in a box of these units, which the page scales.
const (
	plotWidth = 720
	plotLeft  = 60
	plotRight = 20
	barHeight = 160
	barFloor  = 140 // where bars stand
)

// tick is a mark at an axis.
type tick struct {
	At   float64
	Text string
}

// bars are how many handovers began when, by what is to be said of them.
type bars struct {
	Bars   []bar
	Ticks  []tick // of time
	Most   int
	Every  string
	Utmost float64 // where the highest ends
}

type bar struct {
	X, Width float64
	Parts    []barPart
	Says     string
}

type barPart struct {
	Class     string
	Y, Height float64
}

// steps are how wide a bar may be, in time.
var steps = []struct {
	of     time.Duration
	text   string
	layout string
}{
	{time.Minute, "minute", "15:04"}, {5 * time.Minute, "5 minutes", "15:04"}, {15 * time.Minute, "15 minutes", "15:04"},
	{time.Hour, "hour", "01-02 15:04"}, {6 * time.Hour, "6 hours", "01-02 15:04"}, {24 * time.Hour, "day", "2006-01-02"},
	{7 * 24 * time.Hour, "7 days", "2006-01-02"}, {28 * 24 * time.Hour, "28 days", "2006-01-02"}, {364 * 24 * time.Hour, "364 days", "2006-01-02"},
}

// mostBars is how many there are at most, unless the log is of a hundred years.
const mostBars = 48

// barsOf draws handovers over time; nil where there are none.
func barsOf(handovers []Handover) *bars {
	if len(handovers) == 0 {
		return nil
	}
	first, last := handovers[0].From, handovers[len(handovers)-1].From
	step := steps[len(steps)-1]
	for _, s := range steps {
		if last.Sub(first) < mostBars*s.of {
			step = s
			break
		}
	}
	begin := first.UTC().Truncate(step.of)
	n := min(int(last.Sub(begin)/step.of)+1, 1000)
	counts := make([][3]int, n)
	classes := [3]string{"right", "other", "wrong"}
	out := &bars{Every: step.text}
	for _, h := range handovers {
		i := min(int(h.From.Sub(begin)/step.of), n-1)
		k := slices.Index(classes[:], verdictClasses[h.Verdict])
		counts[i][k]++
		out.Most = max(out.Most, counts[i][0]+counts[i][1]+counts[i][2])
	}
	width := min(float64(plotWidth-plotLeft-plotRight)/float64(n), 60)
	const room = barFloor - 20
	free := 0.0 // where there is room for the next time
	for i, c := range counts {
		at := begin.Add(time.Duration(i) * step.of)
		x := plotLeft + float64(i)*width
		b := bar{X: x + width*0.1, Width: width * 0.8, Says: fmt.Sprintf("%s UTC: %d right, %d not right, %d other", at.Format("2006-01-02 15:04"), c[0], c[2], c[1])}
		y := float64(barFloor)
		for k, count := range c {
			if count == 0 {
				continue
			}
			height := float64(count) / float64(out.Most) * room
			y -= height
			b.Parts = append(b.Parts, barPart{classes[k], y, height})
		}
		out.Bars = append(out.Bars, b)
		if x >= free && x < plotWidth-plotRight-80 {
			out.Ticks = append(out.Ticks, tick{x, at.Format(step.layout)})
			free = x + 110
		}
	}
	out.Utmost = barFloor - room
	return out
}

// curves are what share of a driver's migrations had at most what outage.
type curves struct {
	Driver string
	Caveat []string
	Lines  []curve
	Ticks  []tick // of time
	Shares []tick
}

type curve struct {
	Class, Name string
	Points      string // of a polyline
	Spread      Spread
}

const (
	curveTop   = 20
	curveFloor = 180
	leastMS    = 10 // where the axis of time begins
)

// curvesOf draws the outages; nil where none is known.
func curvesOf(g Gain) *curves {
	out := &curves{Driver: g.Driver, Caveat: g.caveat()}
	most := max(g.Outage.Max, g.OutageAlone.Max)
	top := math.Ceil(math.Log10(float64(max(most, 100))))
	x := func(ms int64) float64 {
		share := (math.Log10(float64(max(ms, leastMS))) - 1) / (top - 1)
		return plotLeft + share*(plotWidth-plotLeft-plotRight)
	}
	y := func(share float64) float64 { return curveFloor - share*(curveFloor-curveTop) }
	for _, c := range []curve{{Class: "early", Name: "with earlybind", Spread: g.Outage}, {Class: "alone", Name: "with Nova alone, at least", Spread: g.OutageAlone}} {
		n := c.Spread.Count
		if n == 0 {
			continue
		}
		var points strings.Builder
		before := 0.0
		for _, i := range few(n) {
			at, share := x(c.Spread.Sorted[i]), float64(i+1)/float64(n)
			fmt.Fprintf(&points, "%.1f,%.1f %.1f,%.1f ", at, y(before), at, y(share))
			before = share
		}
		fmt.Fprintf(&points, "%d,%.1f", plotWidth-plotRight, y(1))
		c.Points = points.String()
		out.Lines = append(out.Lines, c)
	}
	if len(out.Lines) == 0 {
		return nil
	}
	for ms, power := int64(leastMS), 1.0; power <= top; ms, power = ms*10, power+1 {
		out.Ticks = append(out.Ticks, tick{x(ms), axisMS(ms)})
	}
	for _, share := range []float64{0, 0.5, 0.99} {
		out.Shares = append(out.Shares, tick{y(share), fmt.Sprintf("%.0f %%", share*100)})
	}
	return out
}

// few gives at most 200 of n places, the last among them.
func few(n int) []int {
	var places []int
	for k := range min(n, 200) {
		places = append(places, (k+1)*n/min(n, 200)-1)
	}
	return places
}

func axisMS(ms int64) string {
	switch {
	case ms < 1000:
		return fmt.Sprintf("%d ms", ms)
	default:
		return fmt.Sprintf("%d s", ms/1000)
	}
}

// lanes are a handover's moments, one lane for each who.
type lanes struct {
	Lanes  []lane
	Ticks  []tick
	Zero   float64
	Height int
	Floor  int // where the lanes end
}

type lane struct {
	Who  string
	Y    float64
	Dots []dot
}

type dot struct {
	X     float64
	Class string
	Says  string
}

const (
	laneLeft   = 190
	laneHeight = 26
)

// stretched gives more room to what is near the pause: a migration's seconds matter, and
// its handover may end an hour later.
func stretched(ms float64) float64 {
	return math.Copysign(math.Log10(1+math.Abs(ms)/20), ms)
}

// lanesOf draws moments, from the guest's pause or else the first of them; nil where there
// are none.
func lanesOf(moments []timeline.Moment, paused bool) *lanes {
	zero := "first line"
	if paused {
		zero = "pause"
	}
	if len(moments) == 0 {
		return nil
	}
	low, high := 0.0, 0.0
	for _, m := range moments {
		low, high = min(low, stretched(m.MS)), max(high, stretched(m.MS))
	}
	low, high = low-0.1, high+0.1
	x := func(ms float64) float64 {
		return laneLeft + (stretched(ms)-low)/(high-low)*(plotWidth-laneLeft-plotRight)
	}
	out := &lanes{Zero: x(0)}
	places := map[string]int{}
	for _, m := range moments {
		i, ok := places[m.Who]
		if !ok {
			i = len(out.Lanes)
			places[m.Who] = i
			out.Lanes = append(out.Lanes, lane{Who: shortened(m.Who, 26), Y: float64(20 + i*laneHeight)})
		}
		out.Lanes[i].Dots = append(out.Lanes[i].Dots, dot{x(m.MS), dotClass(m), fmt.Sprintf("%+.0f ms: %s", m.MS, m.What)})
	}
	out.Floor = 10 + len(out.Lanes)*laneHeight
	out.Height = out.Floor + 24
	last := math.Inf(-1)
	for _, t := range []struct {
		ms   float64
		text string
	}{
		{-600_000, "−10 min"}, {-60_000, "−1 min"}, {-10_000, "−10 s"}, {-1000, "−1 s"}, {-100, "−100 ms"}, {0, zero},
		{100, "100 ms"}, {1000, "1 s"}, {10_000, "10 s"}, {60_000, "1 min"}, {600_000, "10 min"}, {3_600_000, "1 h"},
	} {
		at := x(t.ms)
		if s := stretched(t.ms); s < low || s > high || at-last < 46 || t.ms != 0 && t.ms < 0 && out.Zero-at < 46 {
			continue
		}
		last = at
		out.Ticks = append(out.Ticks, tick{at, t.text})
	}
	return out
}

func dotClass(m timeline.Moment) string {
	switch {
	case strings.HasPrefix(m.What, "handover.alarm"), strings.Contains(m.What, "rows wrong"):
		return "wrong"
	case strings.Contains(m.What, ": failed"), m.Who == "(log)":
		return "warn"
	}
	return "plain"
}
