package consumer

import (
	"sync"
	"time"
)

// giveUpEvery is how often at most a replica gives up a share: until then the
// ticks of the one that got the last tell of it.
const giveUpEvery = 10 * time.Second

// balance is how many of a cell's shares this replica acts for, and by it the
// shares spread over the replicas: RabbitMQ serves whoever came first, which after
// a restart of the others is one replica for all.
//
// Each tick tells how many shares its sender acts for, and reaches whoever acts for
// that share. A replica that acts for two more than the sender gives the share up,
// if no handover of it goes on; RabbitMQ turns to the next that waits for it.
type balance struct {
	clock func() time.Duration
	mu    sync.Mutex
	acts  int
	gave  time.Duration // when it last gave one up; 0: never
}

// begins and ends count a share that this replica acts for.
func (b *balance) begins() { b.add(1) }
func (b *balance) ends()   { b.add(-1) }

func (b *balance) add(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.acts += n
}

// held gives how many there are.
func (b *balance) held() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.acts
}

// giveUp tells, at most once in a while, that a share is to be given up in favour
// of a replica that acts for so many. mine is what is left here with it.
func (b *balance) giveUp(others int) (mine int, yes bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.clock()
	if b.acts < others+2 || b.gave != 0 && now-b.gave < giveUpEvery {
		return b.acts, false
	}
	b.gave = now
	return b.acts, true
}
