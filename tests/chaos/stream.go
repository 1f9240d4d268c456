package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"time"

	"github.com/earlybind/earlybind/wire"
)

// longestGap is how long a recording may stand still here: a cut network was
// recorded to hold a guest for half a minute.
const longestGap = 2 * time.Second

// recordings are the streams of handover/testdata that are played: those in
// which the guest is on one host in the end. A migration from compute1 to
// compute2 each.
var recordings = map[bool][]string{
	false: {
		"a-plain-success", "e0-slow-switchover-success", "t13-a-success", "c2-postcopy", "h1-migrate-with-suspend-flag",
		"h2-paused-guest-migrated", "h4-timeout-suspend-forced",
	},
	true: {
		"d-abort-precopy", "d2-kill9-dst-qemu-in-precopy", "e1-kill9-dst-qemu-at-suspend", "e2b-domjobabort-at-suspend-nopoll",
		"e3b-network-cut-at-suspend-nopoll", "e4-kill9-dst-libvirtd-at-suspend", "e5-kill9-src-qemu-at-suspend", "e6-kill9-src-libvirtd-at-suspend",
		"e7-dst-dies-in-finish-phase", "t13-e1-kill9-dst-qemu-at-suspend", "t13-e2-domjobabort-at-suspend",
	},
}

// moment is one line of a recording.
type moment struct {
	at       time.Duration // from the first event on
	onSource bool
	event    wire.Event
	detail   wire.Detail
	// returned: the host's libvirt had been away and is connected again.
	returned bool
}

// stream is what both hosts' libvirt say in one migration.
type stream struct {
	name    string
	moments []moment
	// paused is when the guest stops, or, where it does not, arrives; decided when
	// the outcome is certain; postCopy when post-copy begins, or never.
	paused, decided, postCopy time.Duration
}

const never = time.Duration(-1)

// names that the recordings call unknown, by libvirt's numbers.
var unnamed = map[[2]int]wire.Detail{{3, 7}: wire.PostCopy, {6, 2}: "host", {4, 3}: wire.PostCopy}

// readStream reads a recording.
func readStream(path, name string) (stream, error) {
	f, err := os.Open(path)
	if err != nil {
		return stream{}, err
	}
	defer f.Close()
	s := stream{name: name, paused: never, decided: never, postCopy: never}
	connected, last, clock := map[string]bool{}, 0.0, time.Duration(0)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var r struct {
			Ms            float64 `json:"t_ms"`
			Host          string  `json:"host"`
			Kind          string  `json:"kind"`
			Event, Detail int
			Names         string
		}
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return stream{}, err
		}
		if r.Kind == "connected" && !connected[r.Host] {
			connected[r.Host] = true
			continue
		}
		if len(s.moments) > 0 {
			clock += min(longestGap, time.Duration((r.Ms-last)*float64(time.Millisecond)))
		}
		last = r.Ms
		m := moment{at: clock, onSource: r.Host == "compute1", returned: r.Kind == "connected"}
		if !m.returned {
			event, detail, _ := strings.Cut(r.Names, "/")
			m.event, m.detail = wire.Event(event), wire.Detail(detail)
			if known, ok := unnamed[[2]int{r.Event, r.Detail}]; ok {
				m.detail = known
			}
		}
		s.moments = append(s.moments, m)
		s.note(m)
	}
	if s.paused == never {
		s.paused = s.decided
	}
	if s.decided == never {
		return stream{}, errors.New(path + ": no outcome is found in it")
	}
	return s, nil
}

// note keeps the moments that Nova goes by.
func (s *stream) note(m moment) {
	first := func(at *time.Duration) {
		if *at == never {
			*at = m.at
		}
	}
	switch {
	case m.onSource && m.event == wire.Suspended && m.detail == wire.Migrated:
		first(&s.paused)
	case m.onSource && m.event == wire.Suspended && m.detail == wire.PostCopy:
		first(&s.postCopy)
	case m.event == wire.Stopped,
		m.onSource && m.event == wire.Resumed && s.paused != never:
		first(&s.decided)
	}
}
