package consumer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/kelseyhightower/envconfig"

	"github.com/earlybind/earlybind/internal/broker"
)

// Cells are brokers: the clusters are separated by white space, the nodes of one
// by commas.
type Cells []broker.Cluster

var _ envconfig.Decoder = (*Cells)(nil)

// Decode reads them; it cannot fail. [Settings.Validate] checks them.
func (c *Cells) Decode(text string) error {
	*c = nil
	for _, cell := range strings.Fields(text) {
		*c = append(*c, strings.Split(cell, ","))
	}
	return nil
}

// check names every fault of further cells beside the first.
func (c Cells) check(setting string, first broker.Cluster) error {
	var faults []error
	before := []broker.Cluster{first}
	for i, cell := range c {
		faults = append(faults, cell.Check(fmt.Sprintf("%s: cell %d", setting, i+1)))
		for _, other := range before {
			if cell.Meets(other) {
				faults = append(faults, fmt.Errorf("%s: cell %d is the broker of another cell: each is named once, and not in EARLYBIND_AMQP_URLS too", setting, i+1))
				break
			}
		}
		before = append(before, cell)
	}
	return errors.Join(faults...)
}

// PerCell gives the settings of each cell; they differ in the broker alone.
func (s Settings) PerCell() []Settings {
	all := []Settings{s}
	for _, cell := range s.OtherCells {
		one := s
		one.AMQPUrls = cell
		all = append(all, one)
	}
	for i := range all {
		all[i].OtherCells = nil
	}
	return all
}

// Run serves every share of every cell until the context ends, and is then drained
// as [Consumer.Run] says: a [Consumer] for each, with queues, a lease, a journal and
// a breaker of its own. They share Neutron, the board and the log, in which each
// line names its broker and its share if there are several, and the metrics.
//
// An instance never leaves its cell in a live migration, nor its share, and all
// that is said of it comes through its cell's broker: so one replica at a time acts
// for it, as long as no two brokers carry the messages of one host.
func (r Replica) Run(ctx context.Context, drain time.Duration, s Settings) error {
	r.Neutron = measured{r.Neutron, r.Metrics}
	var all []*Consumer
	cells := s.PerCell()
	for _, cell := range cells {
		name := ""
		if len(cells) > 1 {
			name = cell.AMQPUrls.String()
		}
		all = append(all, r.perShare(cell, name)...)
	}
	faults := make([]error, len(all))
	var running sync.WaitGroup
	for i, one := range all {
		running.Go(func() { faults[i] = one.Run(ctx, drain) })
	}
	running.Wait()
	return errors.Join(faults...)
}

// perShare gives a consumer for each share of a cell. They have one balance. The cell's name is
// empty where there is one only.
func (r Replica) perShare(s Settings, cell string) []*Consumer {
	var all []*Consumer
	for i := range max(s.Shares, 1) {
		one := New(s, r)
		if i > 0 {
			one.balance = all[0].balance
		}
		if cell != "" {
			one.name = " " + cell
		}
		part := ""
		if s.Shares > 1 {
			one.part = share{number: i + 1, of: s.Shares}
			part = one.part.String()
			one.name += " share " + part
		}
		one.log = r.Log.Of(cell, part)
		one.metrics = r.Metrics.Cell(cell, part, one.standing)
		all = append(all, one)
	}
	return all
}
