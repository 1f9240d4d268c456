package main

import (
	"math/rand/v2"
	"sync"
	"time"
)

// mail hands over the messages of one migration, with the faults of its plan.
type mail struct {
	plan plan
	nova *courier
	of   map[string]*courier // by host

	mu   sync.Mutex
	rng  *rand.Rand
	sent []sentLetter // for replays in the next migration
}

type sentLetter struct {
	courier *courier
	letter  letter
}

func newMail(g *game, p plan) *mail {
	m := &mail{plan: p, nova: g.nova, of: map[string]*courier{}, rng: rand.New(rand.NewPCG(p.rng.Uint64(), 0))}
	for name, h := range g.hosts {
		m.of[name] = h.courier
	}
	return m
}

// post sends a message of a host.
func (m *mail) post(host string, l letter) { m.hand(m.of[host], l) }

// notify sends a notification of Nova, unless it is to be lost.
func (m *mail) notify(l letter) {
	if m.plan.has(lost) && (m.plan.lostAll || m.chance(50)) {
		return
	}
	m.hand(m.nova, l)
}

func (m *mail) hand(c *courier, l letter) {
	delay := time.Duration(0)
	if m.plan.has(late) && m.chance(30) {
		delay = m.upTo(8 * time.Second)
	}
	c.sendAfter(delay, l)
	if m.plan.has(duplicates) && m.chance(60) {
		c.sendAfter(delay+m.upTo(5*time.Second), l)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sent = append(m.sent, sentLetter{c, l})
}

// replay sends some messages of the last migration again.
func (m *mail) replay(last []sentLetter) {
	if !m.plan.has(late) || len(last) == 0 {
		return
	}
	for range 3 {
		m.mu.Lock()
		old := last[m.rng.IntN(len(last))]
		m.mu.Unlock()
		old.courier.sendAfter(m.upTo(5*time.Second), old.letter)
	}
}

func (m *mail) chance(percent int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rng.IntN(100) < percent
}

func (m *mail) upTo(longest time.Duration) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return time.Duration(m.rng.Int64N(int64(longest)))
}
