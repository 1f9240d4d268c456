// Package timeline draws what happened in a handover, for people: one line per moment,
// in milliseconds from the guest's pause.
package timeline

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/earlybind/earlybind/audit"
)

// Moment is one thing that happened, in milliseconds from the guest's pause.
type Moment struct {
	MS   float64 `json:"ms"`
	Who  string  `json:"who"`
	What string  `json:"what"`
}

// Neutron's callers, as a moment names them.
const (
	ByEarlybind = "earlybind -> neutron"
	ByNova      = "nova -> neutron"
)

// together is within how many milliseconds the same thing said of several ports is drawn
// as one line.
const together = 1500

// Sort puts moments in the order of their time; those of one time stay as they are.
func Sort(moments []Moment) {
	slices.SortStableFunc(moments, func(a, b Moment) int { return cmp.Compare(a.MS, b.MS) })
}

// Together makes the same thing said again soon one moment, of sorted ones.
func Together(moments []Moment) []Moment {
	same := func(a, b Moment) bool { return a.Who == b.Who && a.What == b.What && b.MS-a.MS < together }
	var out []Moment
	for i, at := range moments {
		if slices.ContainsFunc(moments[:i], func(e Moment) bool { return same(e, at) }) {
			continue
		}
		times, last := 0, at.MS
		for _, later := range moments[i:] {
			if same(at, later) {
				times++
				last = later.MS
			}
		}
		if times > 1 {
			at.What += fmt.Sprintf("  ×%d, last %+.0f", times, last)
		}
		out = append(out, at)
	}
	return out
}

// Text draws sorted moments. The same thing said again soon becomes one line.
func Text(moments []Moment) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%12s  %-22s %s\n", "ms from pause", "who", "what")
	for _, at := range Together(moments) {
		fmt.Fprintf(&b, "%+12.0f   %-22s %s\n", at.MS, at.Who, at.What)
	}
	return b.String()
}

// Plain puts spaces in place of what a terminal would act on: a log, a routing key, may
// hold what anybody could send.
func Plain(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, s)
}

// OfEvent names a lifecycle event of libvirt.
func OfEvent(host, event, detail string) (who, what string) {
	return "libvirt " + host, strings.ToUpper(event) + "/" + strings.ToUpper(detail)
}

// OfLine names a line of the audit log; false for one that says nothing to people that
// other moments do not say.
func OfLine(l audit.Line) (who, what string, ok bool) {
	switch l.Event {
	case audit.EvidenceSeen:
		if said, ok := strings.CutPrefix(l.Saw, "libvirt lists: "); ok {
			return "libvirt " + l.Host, "lists: " + said, true
		}
		said, ok := strings.CutPrefix(l.Saw, "Nova: ")
		return "nova " + l.Host, said, ok
	case audit.HandoverArmed, audit.HandoverAlarm, audit.HandoverEnded, audit.HostsAsked, audit.CommitsStopped, audit.CommitsResumed:
		return "earlybind", strings.Join(strings.Fields(string(l.Event)+" "+l.Outcome+" "+l.Why), " "), true
	case audit.PortDecided, audit.PortObserved:
		return "earlybind", l.Decided + " (" + l.Why + ")", true
	case audit.PortVerified:
		return "earlybind", "verified: " + l.Outcome, l.Decided != "" && l.Outcome != ""
	}
	return "", "", false
}

// OfRequest names a request that writes to a port.
func OfRequest(method, path, port string, status int) (what string) {
	what = method + strings.TrimPrefix(strings.Replace(path, port, "", 1), "/v2.0/ports")
	what = strings.NewReplacer("//", "/", "/bindings", " bindings", "PUT/", "PUT port").Replace(what)
	return fmt.Sprintf("%s: %d", what, status)
}

// OfLog names any line of a handover, where the audit log is all that there is: what the
// hosts said, and what was written to Neutron, stands in it too.
func OfLog(l audit.Line) (who, what string) {
	fault := ""
	if l.Err != nil {
		fault = ": " + l.Err.Error()
	}
	switch l.Event {
	case audit.EvidenceSeen:
		if event, ok := strings.CutPrefix(l.Saw, "libvirt: "); ok {
			event, detail, _ := strings.Cut(event, "/")
			return OfEvent(l.Host, event, detail)
		}
	case audit.HandoverBegun:
		return "earlybind", "handover.begun (" + l.Why + ")"
	case audit.PortWritten:
		what = strings.TrimSpace(l.Decided+" "+l.Host) + ": " + l.Outcome + fault
		if l.Took >= time.Second {
			what += fmt.Sprintf(", after %.1f s", l.Took.Seconds())
		}
		return ByEarlybind, what
	case audit.PortVerified:
		switch {
		case l.Outcome == "" && l.Err == nil: // within a restore
			return "earlybind", strings.TrimSpace("restore: " + l.Decided + " " + l.Why)
		case l.Decided == "":
			what := "read: " + l.Outcome + fault
			if l.Outcome != "" && l.Host != "" {
				what += ", for " + l.Host // a guest there: in a restore the destination's rows can be read as right
			}
			return "earlybind", what
		}
	}
	if who, what, ok := OfLine(l); ok {
		return who, what + fault
	}
	return "earlybind", strings.TrimSpace(string(l.Event)+" "+l.Outcome+" "+l.Saw) + fault
}
