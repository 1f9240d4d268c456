package duel

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"
)

// Job is a duel to be fought.
type Job struct {
	Case    Case
	Stagger time.Duration
}

// Run fights the jobs in their order, on several ports at once, and hands each
// result to done, one at a time. It ends with the first duel that could not take
// place three times.
func (a Arena) Run(ctx context.Context, jobs []Job, lanes int, seed uint64, done func(Result)) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	queue := make(chan Job)
	go func() {
		defer close(queue)
		for _, j := range jobs {
			select {
			case queue <- j:
			case <-ctx.Done():
				return
			}
		}
	}()
	var mu sync.Mutex
	var faults []error
	var all sync.WaitGroup
	for i := range lanes {
		all.Go(func() {
			lane := a.NewLane(rand.New(rand.NewPCG(seed, uint64(i))))
			err := lane.run(ctx, queue, func(r Result) {
				mu.Lock()
				defer mu.Unlock()
				done(r)
			})
			if err != nil {
				stop()
			}
			err = errors.Join(err, lane.Close(context.WithoutCancel(ctx)))
			mu.Lock()
			defer mu.Unlock()
			faults = append(faults, err)
		})
	}
	all.Wait()
	return errors.Join(faults...)
}

func (l *Lane) run(ctx context.Context, queue <-chan Job, done func(Result)) error {
	for j := range queue {
		r, err := l.Fight(ctx, j.Case, j.Stagger)
		for again := 0; err != nil && again < 2 && ctx.Err() == nil; again++ {
			r, err = l.Fight(ctx, j.Case, j.Stagger) // on another port
		}
		if ctx.Err() != nil {
			return nil // cut off, and not to be judged
		}
		if err != nil {
			return err
		}
		done(r)
	}
	return nil
}
