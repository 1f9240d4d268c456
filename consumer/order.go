package consumer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/earlybind/earlybind/handover"
	"github.com/earlybind/earlybind/internal/broker"
	"github.com/earlybind/earlybind/wire"
)

const (
	// wordWithin is how long the sessions' answers to an order are waited for.
	wordWithin = 2 * time.Second
	// lockWithin is how long an order waits for its turn: a look at what is paused takes
	// some milliseconds, but a process that was frozen in it holds the lock until RabbitMQ
	// gives it up (13 s).
	lockWithin = 20 * time.Second
)

// Order pauses commits, or resumes them, in every cell.
type Order struct {
	// Show changes nothing: it tells what is paused.
	Show   bool
	Resume bool
	Hosts  []string // none: all commits
	By     string   // who gives it, and for what: for the logs
	Why    string
}

// Told is what has come of an order in one cell.
type Told struct {
	Cell  string        // its broker
	Is    handover.Halt // what is paused now
	Words []Word        // of those that obey, as they came
	// Missing is how many sessions run, by the broker's count, and have not answered.
	Missing int
	// Given: the order stands, and Is is what holds, whatever Err says of the answers.
	Given bool
	Err   error
}

// Word is the word of a session that it obeys.
type Word struct {
	Replica, Share string
	After          time.Duration // since the order was sent
}

// Give gives an order to the consumers of all cells, and returns when those that run
// have answered, after about two seconds at most. Whoever starts later obeys it too.
func Give(ctx context.Context, s Settings, o Order) []Told {
	cells := s.PerCell()
	told := make([]Told, len(cells))
	var giving sync.WaitGroup
	for i, cell := range cells {
		giving.Go(func() {
			told[i] = cell.give(ctx, o)
			told[i].Cell = cell.AMQPUrls.String()
		})
	}
	giving.Wait()
	return told
}

// give gives an order to one cell.
func (s Settings) give(ctx context.Context, o Order) (t Told) {
	q, giver := s.queuesOf(share{}), ReplicaName()
	conn, err := broker.Dial(ctx, s.Settings, "earlybind order "+giver)
	if err != nil {
		return Told{Err: err}
	}
	defer closeConnection(conn)
	// amqp091-go's calls know no context; closing ends them.
	defer context.AfterFunc(ctx, func() { closeConnection(conn) })()

	if _, err := s.sessions(conn, q); err != nil {
		return Told{Err: err}
	}
	send, err := newSender(s, q, giver, conn, func(amqp.Blocking) {})
	if err != nil {
		return Told{Err: err}
	}
	send.id = "earlybind-order:" + giver
	if err := declareOrders(send.ch, q.paused); err != nil {
		return Told{Err: err}
	}
	words, err := openOrders(conn, q.paused, keyObeys, giver)
	if err != nil {
		return Told{Err: err}
	}
	kept := retained{settings: s, name: q.paused, conn: conn, refused: func(error) {}}
	if o.Show {
		t.Err = inTurn(ctx, func() error {
			is, err := kept.read(func(h wire.Halt) error { return send.keepHalt(ctx, h) })
			t.Is = haltOf(is)
			return err
		})
		t.Given = t.Err == nil
		return t
	}
	var is wire.Halt
	var sent time.Time
	err = inTurn(ctx, func() error {
		return kept.change(o, func(h wire.Halt) error {
			is, sent = h, time.Now()
			return send.keepHalt(ctx, h)
		})
	})
	if errors.Is(err, context.DeadlineExceeded) && send.blocked.Load() {
		err = fmt.Errorf("the broker is short of memory or disk, and reads nothing: %w", err)
	}
	if err != nil {
		return Told{Err: err}
	}
	t.Is, t.Given = haltOf(is), true
	t.Missing, err = s.hear(ctx, conn, q, words, is.Revision, func(w wire.Obeys) {
		t.Words = append(t.Words, Word{Replica: w.Replica, Share: w.Share, After: time.Since(sent)})
	})
	if err != nil {
		t.Err = fmt.Errorf("the order stands; who obeys is not known: %w", err)
	}
	return t
}

// inTurn does something when nobody else holds the lock. Others are waited for.
func inTurn(ctx context.Context, do func() error) error {
	began := time.Now()
	for {
		err := do()
		waits := lookPatience // for a message that is on its way back
		if errors.Is(err, errBusy) {
			waits = lockWithin
		} else if !errors.Is(err, errLost) {
			return err
		}
		if time.Since(began) > waits {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(lookAgain):
		}
	}
}

// change puts what is paused by an order in the place of what was.
func (r retained) change(o Order, keep func(wire.Halt) error) error {
	return locked(r.conn, r.name, func(ch *amqp.Channel) error {
		was, last := wire.Halt{}, amqp.Delivery{}
		there, err := r.exists()
		if err != nil {
			return err
		}
		if there {
			was, last, _, err = r.take(ch)
		}
		unknown := errors.Is(err, errLost) || errors.Is(err, errStrange)
		if unknown && len(o.Hosts) == 0 {
			was, err = wire.Halt{}, nil // the order says it all
		} else if unknown {
			err = fmt.Errorf("%w: say first, without a host, whether all commits are to be paused or resumed", err)
		}
		if err != nil {
			return err
		}
		if err := r.declare(ch); err != nil {
			return err
		}
		if err := keep(o.follow(was, time.Now())); err != nil {
			return err
		}
		if last.DeliveryTag == 0 {
			return nil
		}
		return last.Ack(true)
	})
}

// follow gives what is paused after an order. Its revision rises, also above what was
// lost, as far as clocks agree. What a resume leaves paused stays his who has paused it.
func (o Order) follow(was wire.Halt, now time.Time) wire.Halt {
	is := was.With(o.Hosts...)
	if o.Resume {
		is = was.Without(o.Hosts...)
	}
	is.Schema, is.Revision = wire.SchemaVersion, max(was.Revision+1, now.UnixMilli())
	if !o.Resume || !is.All && len(is.Hosts) == 0 {
		is.By, is.Why = o.By, o.Why
	}
	is.Order = o.String()
	return is
}

// String is the order as its command, with who gives it and why.
func (o Order) String() string {
	command := "earlybind pause"
	if o.Resume {
		command = "earlybind resume"
	}
	for _, host := range o.Hosts {
		command += " -host " + host
	}
	if said := saidBy(o.By, o.Why); said != "" {
		command += " (" + said + ")"
	}
	return command
}

// sessions counts those that run, of all replicas and shares.
func (s Settings) sessions(conn *amqp.Connection, q queues) (int, error) {
	// A channel of its own: a passive declaration of what is not there closes it.
	ch, err := conn.Channel()
	if err != nil {
		return 0, err
	}
	defer ch.Close()
	layout, err := ch.QueueDeclarePassive(q.layout, true, false, false, false, nil)
	var fault *amqp.Error
	if errors.As(err, &fault) && fault.Code == amqp.NotFound {
		return 0, noConsumerHasRun(q.layout)
	}
	if err != nil {
		return 0, fmt.Errorf("look for queue %s: %w", q.layout, err)
	}
	return layout.Consumers, nil // each session reads it
}

// noConsumerHasRun says so where a queue is missing that each consumer declares.
func noConsumerHasRun(queue string) error {
	return fmt.Errorf("no consumer has ever run here: there is no queue %s (is EARLYBIND_QUEUE the consumers', and the virtual host?)", queue)
}

// hear hears the sessions' answers, and tells how many are missing.
func (s Settings) hear(ctx context.Context, conn *amqp.Connection, q queues, words feed, revision int64, heard func(wire.Obeys)) (missing int, err error) {
	var obey []wire.Obeys
	count := func() error {
		n, err := s.sessions(conn, q)
		missing = max(n-len(obey), 0)
		return err
	}
	if err := count(); err != nil {
		return 0, err
	}
	over := time.After(wordWithin)
	for missing > 0 {
		select {
		case <-ctx.Done():
			return missing, ctx.Err()
		case <-over:
			return missing, count() // some may have ended meanwhile
		case d, ok := <-words.deliveries:
			if !ok {
				return missing, words.ended(ctx)
			}
			_ = d.Ack(false)
			w, err := s.readWord(d)
			if err != nil || w.Revision != revision || slices.Contains(obey, w) {
				continue
			}
			obey = append(obey, w)
			missing--
			heard(w)
		}
	}
	return missing, nil
}

// readWord reads a session's answer.
func (s Settings) readWord(d amqp.Delivery) (wire.Obeys, error) {
	if d.UserId != s.AMQPUser {
		return wire.Obeys{}, errRefused
	}
	n, err := wire.Decode(d.Body)
	if err != nil {
		return wire.Obeys{}, err
	}
	return wire.ParseObeys(n)
}
