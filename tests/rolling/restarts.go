package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/earlybind/earlybind/tests/lab"
)

// order is in what order everything is restarted, over and over, one at a time.
func order(cluster bool) []string {
	if cluster {
		return []string{"consumer1", "publisher1", lab.Brokers[0], "consumer2", lab.Brokers[1], "publisher2", lab.Brokers[2], neutron}
	}
	return []string{"consumer1", "publisher1", lab.Brokers[0], "consumer2", "publisher2", neutron}
}

const (
	neutron = "neutron"
	// settle is how long an operator looks at what is healthy again before going on.
	settle = 4 * time.Second
	// within is how long a restart may take.
	within = 8 * time.Minute
)

// restart is one of them.
type restart struct {
	what             string
	began, healthyAt time.Time // zero while it goes on
}

// restarts does them, and knows which there were.
type restarts struct {
	lab     *lab.Lab
	cluster bool // RabbitMQ has three nodes
	lock    sync.Mutex
	done    []restart
}

// run restarts until the context ends; the one that goes on then is finished.
func (r *restarts) run(ctx context.Context) error {
	order := order(r.cluster)
	for i := 0; ; i++ {
		if err := lab.Sleep(ctx, settle); err != nil {
			return nil
		}
		if err := r.restart(context.WithoutCancel(ctx), order[i%len(order)]); err != nil {
			return err
		}
	}
}

func (r *restarts) restart(ctx context.Context, what string) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	r.lock.Lock()
	i := len(r.done)
	r.done = append(r.done, restart{what: what, began: time.Now()})
	r.lock.Unlock()
	err := insist(ctx, within, "it to be healthy", func() error {
		switch {
		case what == neutron:
			return r.lab.RollNeutron(ctx)
		case r.cluster && slices.Contains(lab.Brokers, what):
			return r.lab.RestartNode(ctx, what)
		}
		return r.lab.RestartContainer(ctx, what)
	})
	// Who restarts RabbitMQ or Neutron looks at the hosts too before going on.
	if err == nil {
		err = insist(ctx, within, "both hosts to be up", func() error {
			up, err := r.lab.ComputesUp(ctx)
			if err == nil && !up {
				err = errors.New("one is down")
			}
			return err
		})
	}
	r.lock.Lock()
	defer r.lock.Unlock()
	r.done[i].healthyAt = time.Now()
	if err != nil {
		return fmt.Errorf("restart of %s: %w", what, err)
	}
	return nil
}

// since names what was being restarted at some moment of a time.
func (r *restarts) since(from, to time.Time) []string {
	r.lock.Lock()
	defer r.lock.Unlock()
	var found []string
	for _, one := range r.done {
		if one.began.Before(to) && (one.healthyAt.IsZero() || one.healthyAt.After(from)) && !slices.Contains(found, one.what) {
			found = append(found, one.what)
		}
	}
	return found
}
