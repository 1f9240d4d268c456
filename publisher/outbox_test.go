package publisher

import (
	"testing"

	"github.com/earlybind/earlybind/wire"
)

func eventMessage(sequence uint64) *message {
	return &message{event: wire.HostEvent{Order: wire.Order{Epoch: 1, Sequence: sequence}}}
}

func statesMessage(sequence uint64, gap bool) *message {
	return &message{states: &wire.HostStates{Order: wire.Order{Epoch: 1, Sequence: sequence}, Reconnected: gap}}
}

func sequences(o *outbox) (all []uint64) {
	for m := o.next(); m != nil; m = o.next() {
		all = append(all, m.order().Sequence)
	}
	return all
}

func equal(t *testing.T, got []uint64, want ...uint64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("got %v, want %v", got, want)
		}
	}
}

func TestOutboxSendsAgainWhatIsNotConfirmed(t *testing.T) {
	o := newOutbox(10)
	var all []*message
	for i := range uint64(4) {
		all = append(all, eventMessage(i+1))
		o.add(all[i])
	}
	equal(t, sequences(o), 1, 2, 3, 4)
	o.confirm(all[1])
	equal(t, sequences(o))
	o.rewind()
	equal(t, sequences(o), 3, 4)
}

func TestOutboxDropsTheOldestWhetherSentOrNot(t *testing.T) {
	o := newOutbox(2)
	first := eventMessage(1)
	o.add(first)
	equal(t, sequences(o), 1)
	o.add(eventMessage(2))
	o.add(eventMessage(3)) // drops 1, which is on its way
	if n := o.takeLost(); n != 1 {
		t.Errorf("lost %d", n)
	}
	if n := o.takeLost(); n != 0 {
		t.Errorf("counted again: %d", n)
	}
	o.confirm(first) // late: takes nothing else along
	equal(t, sequences(o), 2, 3)
}

func TestOutboxReplacesUnsentStatesThatNoEventFollowed(t *testing.T) {
	o := newOutbox(10)
	o.add(statesMessage(1, true))
	o.add(statesMessage(2, false))
	if m := o.next(); m.order().Sequence != 2 || !m.states.Reconnected {
		t.Errorf("got %+v", m.states) // the gap before 1 is before 2 too
	}
	o.add(statesMessage(3, false)) // 2 is on its way
	if m := o.next(); m.order().Sequence != 3 || m.states.Reconnected {
		t.Errorf("got %+v", m.states)
	}
	o.rewind()
	if m := o.next(); m.order().Sequence != 3 || !m.states.Reconnected {
		t.Errorf("got %+v", m.states)
	}
	o.add(eventMessage(4))
	o.add(statesMessage(5, false))
	o.rewind()
	equal(t, sequences(o), 3, 4, 5)
}

func TestOutboxTakesStatesOverItsLimit(t *testing.T) {
	o := newOutbox(2)
	o.add(eventMessage(1))
	o.add(eventMessage(2))
	o.add(statesMessage(3, true))
	if n := o.takeLost(); n != 0 {
		t.Errorf("lost %d", n)
	}
	o.add(eventMessage(4))
	if n := o.takeLost(); n != 2 {
		t.Errorf("lost %d", n)
	}
	equal(t, sequences(o), 3, 4)
}

func TestOutboxTellsWhenItIsDrained(t *testing.T) {
	o := newOutbox(10)
	m := eventMessage(1)
	o.add(m)
	drained := o.finish()
	o.next()
	select {
	case <-drained:
		t.Fatal("too early")
	default:
	}
	o.confirm(m)
	<-drained
	<-newOutbox(1).finish()
}
