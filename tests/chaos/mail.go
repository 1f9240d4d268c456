package main

import (
	"math/rand/v2"
	"sync"
	"time"
)

// mail hands over the messages of one migration, with the faults of its plan.
type mail struct {
	plan     plan
	instance string
	nova     *courier
	of       map[string]*host
	archive  *archive
	// silent is the host whose events do not arrive; missing the number of the one
	// event that does not, from 1 on, and 0 is none.
	silent  string
	missing int

	mu     sync.Mutex
	rng    *rand.Rand
	events int // so far
	// gaps are the hosts that have something to make good when Nova is done; held
	// is for how long a host holds what it has to tell.
	gaps map[string]bool
	held map[string]time.Duration
}

// newMail makes that of a migration of which a recording has so many moments.
func newMail(g *game, p plan, in *instance, moments int) *mail {
	m := &mail{
		plan: p, instance: in.id, nova: g.nova, of: g.hosts, archive: &g.archive, gaps: map[string]bool{}, held: map[string]time.Duration{},
		rng: rand.New(rand.NewPCG(p.rng.Uint64(), 0)),
	}
	if !p.has(dropped) {
		return m
	}
	switch p.loss {
	case ofAHost:
		m.silent = in.host
		if !p.ofSource {
			m.silent = g.other(in.host)
		}
	case ofOne:
		m.missing = 2 + m.rng.IntN(max(1, moments-2))
	case ofAList:
		for _, h := range g.hosts {
			h.losesList()
		}
	}
	return m
}

// event sends what a host tells of the instance, unless it is to be lost. A
// publisher that loses one says so with its next message.
func (m *mail) event(host string, l letter) {
	l.instance = m.instance
	m.mu.Lock()
	m.events++
	missing := m.events == m.missing
	m.mu.Unlock()
	switch {
	case host == m.silent:
		m.gap(host)
	case missing:
		m.of[host].courier.send(m.of[host].states(true))
	default:
		m.tell(host, l)
	}
}

// list sends what a host tells of its domains after its libvirt was away.
func (m *mail) list(h *host) {
	if l, lost := h.nextList(true); lost {
		m.gap(h.name)
	} else {
		m.tell(h.name, l)
	}
}

// tell sends a host's message, or has the host begin to hold what it has to tell:
// its messages keep their order, and those behind one that is held are held too.
func (m *mail) tell(host string, l letter) {
	begins := m.plan.has(hourOld) && m.chance(10)
	longest := m.between(20*time.Second, 4*time.Minute)
	m.mu.Lock()
	if begins && m.held[host] == 0 {
		m.held[host], m.gaps[host] = longest, true
	}
	held := m.held[host]
	m.mu.Unlock()
	if c := m.of[host].courier; held > 0 {
		m.keep(c, l)
		c.sendAfter(held, l.after(anHour))
	} else {
		m.hand(c, l)
	}
}

func (m *mail) gap(host string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.gaps[host] = true
}

// notify sends a notification of Nova, unless it is to be lost.
func (m *mail) notify(l letter) {
	l.instance = m.instance
	switch {
	case m.plan.has(lost) && (m.plan.lostAll || m.chance(50)):
	case m.plan.has(hourOld) && m.chance(10):
		m.keep(m.nova, l)
		m.nova.sendAfter(m.between(20*time.Second, 4*time.Minute), l)
	default:
		m.hand(m.nova, l)
	}
}

// keep remembers a letter, to send it again.
func (m *mail) keep(c *courier, l letter) {
	m.archive.add(m.instance, sentLetter{c, l})
}

// hand sends a letter as the plan has it.
func (m *mail) hand(c *courier, l letter) {
	m.keep(c, l)
	delay := time.Duration(0)
	if m.plan.has(late) && m.chance(30) {
		delay = m.between(0, 8*time.Second)
	}
	c.sendAfter(delay, l)
	if m.plan.has(duplicates) && m.chance(60) {
		c.sendAfter(delay+m.between(0, 5*time.Second), l)
	}
}

// begin sends messages of earlier migrations again: some of the last one, and some
// of any as if an hour had passed.
func (m *mail) begin(last []sentLetter) {
	if m.plan.has(late) && len(last) > 0 {
		for range 3 {
			old := last[m.below(len(last))]
			old.courier.sendAfter(m.between(0, 5*time.Second), old.letter)
		}
	}
	if m.plan.has(hourOld) {
		m.again(4, 0, 30*time.Second)
	}
}

// end is called when Nova is done. A publisher that was away, or whose list was lost,
// then tells of its domains; so much is needed, or nobody knows what has become of
// the guest. That list is not lost.
func (m *mail) end() {
	m.mu.Lock()
	gaps := m.gaps
	m.gaps = map[string]bool{}
	m.mu.Unlock()
	for name := range gaps {
		h := m.of[name]
		h.courier.doAfter(m.between(0, 10*time.Second), func() { h.courier.send(h.states(true)) })
	}
	if m.plan.has(hourOld) {
		m.again(4, 30*time.Second, 4*time.Minute)
	}
}

// again sends n messages of the instance as if an hour had passed, some time
// between.
func (m *mail) again(n int, from, until time.Duration) {
	m.mu.Lock()
	drawn := m.archive.draw(m.rng, m.instance, n)
	m.mu.Unlock()
	for _, old := range drawn {
		old.courier.sendAfter(m.between(from, until), old.letter.after(anHour))
	}
}

func (m *mail) chance(percent int) bool { return m.below(100) < percent }

func (m *mail) below(n int) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rng.IntN(n)
}

func (m *mail) between(from, until time.Duration) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return from + time.Duration(m.rng.Int64N(int64(until-from)))
}
