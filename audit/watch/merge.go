package watch

import "time"

// A line waits for an older one of another log for as long as patience says, and until
// that log was silent for as long as silence says; or, before its first word, firstWord.
const (
	patience  = 100 * time.Millisecond
	silence   = 500 * time.Millisecond
	firstWord = 3 * time.Second
)

// merge puts what several logs say in the order of its time, so that the replica that
// took a handover over comes after the one that had it. A log that gives what it had
// already is waited for; one that has nothing new is given some time.
type merge struct {
	logs []pending
}

// pending is what one log has said and was not taken yet.
type pending struct {
	items []arrived
	heard time.Time // when it last said something
	idle  bool      // it has given what it had already
	ended bool
}

type arrived struct {
	item
	at time.Time
}

func newMerge(logs int, now time.Time) *merge {
	m := &merge{make([]pending, logs)}
	for n := range m.logs {
		m.logs[n].heard = now.Add(firstWord - silence)
	}
	return m
}

// put takes what a log says, at a time of arrival.
func (m *merge) put(log int, i item, now time.Time) {
	l := &m.logs[log]
	if l.items = append(l.items, arrived{i, now}); !i.caughtUp {
		l.heard = now
	}
}

// next gives what is to be taken next, and of which log; false if that is to be waited for.
func (m *merge) next(now time.Time) (i item, log int, ok bool) {
	first, all := -1, true
	for n := range m.logs {
		l := &m.logs[n]
		if len(l.items) == 0 {
			all = all && (l.ended || l.idle)
			continue
		}
		switch head := l.items[0]; {
		case head.caughtUp:
			l.idle = true
			return m.take(n), n, true
		case head.end != nil:
			l.ended = true
			return m.take(n), n, true
		case first < 0 || head.entry.Time.Before(m.logs[first].items[0].entry.Time):
			first = n
		}
	}
	if first < 0 || !all {
		return item{}, 0, false
	}
	for _, l := range m.logs {
		quiet := len(l.items) == 0 && !l.ended
		if quiet && (now.Sub(m.logs[first].items[0].at) < patience || now.Sub(l.heard) < silence) {
			return item{}, 0, false
		}
	}
	return m.take(first), first, true
}

func (m *merge) take(log int) item {
	l := &m.logs[log]
	i := l.items[0].item
	l.items = l.items[1:]
	return i
}
