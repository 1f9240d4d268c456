package check

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/earlybind/earlybind/consumer"
	"github.com/earlybind/earlybind/internal/broker"
	"github.com/earlybind/earlybind/wire"
)

const (
	// closeWithin bounds the closing of the connection.
	closeWithin = 5 * time.Second
	// confirmWithin bounds the wait for the broker's word on a message.
	confirmWithin = 10 * time.Second
	// talkWithin bounds all that is asked of a broker beside the listening.
	talkWithin = time.Minute
	// enough notifications tell who sends them: no more are delivered. maxHeld bounds what
	// waits in the queue meanwhile.
	enough  = 200
	maxHeld = 1000
	// maxLooks bounds how many publishers' queues are looked for: RabbitMQ writes a line to its
	// log for each that is not there.
	maxLooks = 50
)

// AskBroker asks one cell's broker, through one connection, and listens for a while. The
// hosts are those of which it is to be known whether their publisher is connected.
// management may be nil.
func AskBroker(ctx context.Context, s consumer.Settings, hosts []string, listen time.Duration, management *Management) BrokerFacts {
	facts := BrokerFacts{
		Name: s.AMQPUrls.String(), Vhost: s.AMQPUrls.Vhost(),
		Exchanges: map[string]Seen[bool]{}, Queues: map[string]Seen[Queue]{},
		Made: Unseen[Made]("no management API was named"),
	}
	ctx, cancel := context.WithTimeout(ctx, listen+talkWithin)
	defer cancel()
	conn, err := broker.Dial(ctx, s.Settings, "earlybind check")
	if err != nil {
		return facts.unmet(err)
	}
	hangUp := func() { _ = conn.CloseDeadline(time.Now().Add(closeWithin)) }
	defer hangUp()
	// amqp091-go's calls know no context; closing ends them.
	defer context.AfterFunc(ctx, hangUp)()
	version, _ := conn.Properties["version"].(string)
	if product, _ := conn.Properties["product"].(string); product != "RabbitMQ" {
		version = strings.TrimSpace(product + " " + version)
	}
	facts.Version = Saw(version)

	p := &probe{settings: s, conn: conn, facts: &facts, name: s.Queue + checkQueue + rand.Text()[:8], blocked: conn.NotifyBlocked(make(chan amqp.Blocking, 8))}
	p.look()
	p.listen(ctx, listen, hosts)
	if management != nil {
		queues := append(defaultQueueNames(s.NotificationTopics), p.kept())
		for _, own := range []string{"", ".notifications", ".journal", ".parked", ".paused", ".layout"} {
			queues = append(queues, s.Queue+own)
		}
		management.Await(ctx, facts.Vhost, p.kept())
		facts.Made = Look(management.Made(ctx, facts.Vhost, s.AMQPUser, []string{s.NovaExchange, exchangeEvents, exchangeRequests}, queues))
	}
	return facts
}

// unmet are the facts of a broker that could not be reached.
func (b BrokerFacts) unmet(err error) BrokerFacts {
	b.Version = Unseen[string](broker.Plain(err))
	var away *broker.Away
	if errors.As(err, &away) {
		b.Version, b.Next = Unseen[string](away.Faults()), away.Next()
	}
	return b
}

// probe asks one broker.
type probe struct {
	settings consumer.Settings
	conn     *amqp.Connection
	facts    *BrokerFacts
	name     string // with which the names of what is our own begin
	blocked  <-chan amqp.Blocking
}

func (p *probe) answers() string       { return p.name + ".answers" }
func (p *probe) notifications() string { return p.name + ".notifications" }
func (p *probe) kept() string          { return p.name + ".kept" }

// exchange is our own: its name begins as those of the consumer's do.
func (p *probe) exchange() string { return "earlybind" + strings.TrimPrefix(p.name, p.settings.Queue) }

// try does something on a channel of its own: what is refused, or is not there, closes it.
func (p *probe) try(do func(*amqp.Channel) error) error {
	ch, err := p.conn.Channel()
	if err != nil {
		return err
	}
	defer func() {
		if p.facts.Alarm == "" { // else nobody answers; the channel goes with the connection
			_ = ch.Close()
		}
	}()
	return do(ch)
}

// may tells whether the user may do something, by doing it to what is our own.
func (p *probe) may(what string, do func(*amqp.Channel) error) bool {
	err := p.try(do)
	p.right(what, err)
	return err == nil
}

func (p *probe) right(what string, err error) {
	has := did(err)
	if isCode(err, amqp.AccessRefused) {
		has = Saw(false)
	}
	p.facts.Rights = append(p.facts.Rights, Right{what, has})
}

// look makes what is our own, binds it, and looks for what is others'. All of it comes before
// the first message: a broker that is short of memory reads nothing more of a connection that
// has sent one.
func (p *probe) look() {
	s, f := p.settings, p.facts
	own := p.may("make queues named "+s.Queue+".…", func(ch *amqp.Channel) error {
		for name, args := range map[string]amqp.Table{
			p.answers():       {},
			p.notifications(): {"x-max-length": int64(maxHeld)},
			p.kept():          {},
		} {
			args["x-queue-type"] = "classic"
			if _, err := ch.QueueDeclare(name, false, true, true, false, args); err != nil {
				return err
			}
		}
		return nil
	})
	own = p.may("make exchanges named earlybind.…", func(ch *amqp.Channel) error {
		return ch.ExchangeDeclare(p.exchange(), amqp.ExchangeTopic, false, true, false, false, nil)
	}) && own
	if own {
		own = p.may("bind and read what is its own", func(ch *amqp.Channel) error {
			return ch.QueueBind(p.kept(), "kept", p.exchange(), false, nil)
		})
	}
	for _, name := range []string{s.NovaExchange, exchangeEvents, exchangeRequests} {
		f.Exchanges[name] = exists(p.try(func(ch *amqp.Channel) error {
			return ch.ExchangeDeclarePassive(name, amqp.ExchangeTopic, false, false, false, false, nil)
		}))
	}
	f.Listened = p.bind(own, s.NovaExchange, p.notifications(), novaKeys(s.NotificationTopics)...)
	f.Asked = p.bind(own, exchangeEvents, p.answers(), wire.KeyStates)
	for _, name := range append(defaultQueueNames(s.NotificationTopics), s.Queue+".layout") {
		f.Queues[name] = p.queue(name)
	}
}

// novaKeys are those that the consumer binds.
func novaKeys(topics []string) []string {
	var keys []string
	for _, topic := range topics {
		keys = append(keys, topic+".info", topic+".error")
	}
	return keys
}

// bind has a queue of our own hear an exchange.
func (p *probe) bind(own bool, exchange, queue string, keys ...string) Seen[bool] {
	what := "read exchange " + exchange
	is, ok := p.facts.Exchanges[exchange].Get()
	if ok && !is {
		why := errors.New("exchange " + exchange + " is not there")
		p.right(what, why)
		return Unseen[bool](why.Error())
	}
	if !own {
		return Unseen[bool]("the user may make no queue of its own")
	}
	may := p.may(what, func(ch *amqp.Channel) error {
		for _, key := range keys {
			if err := ch.QueueBind(queue, key, exchange, false, nil); err != nil {
				return err
			}
		}
		return nil
	})
	if !may {
		return Unseen[bool]("the user may not " + what)
	}
	return Saw(true)
}

// queue looks at one that may be another's.
func (p *probe) queue(name string) Seen[Queue] {
	var q amqp.Queue
	is := exists(p.try(func(ch *amqp.Channel) (err error) {
		q, err = ch.QueueDeclarePassive(name, false, false, false, false, nil)
		return err
	}))
	if found, ok := is.Get(); ok {
		return Saw(Queue{There: found, Messages: q.Messages, Consumers: q.Consumers})
	}
	return Unseen[Queue](is.Why())
}

// exists reads the answer to a passive declaration. Before 4.2.6 RabbitMQ answered it to
// everybody (rabbit_channel.erl).
func exists(err error) Seen[bool] {
	switch {
	case isCode(err, amqp.NotFound):
		return Saw(false)
	case isCode(err, amqp.AccessRefused):
		return Unseen[bool]("the user has no right to it, and RabbitMQ 4.2.6 and later do not show it then")
	}
	return did(err)
}

// did is that a call was answered, or the broker's word for why not.
func did(err error) Seen[bool] {
	if err != nil {
		return Unseen[bool](broker.Plain(err))
	}
	return Saw(true)
}

func isCode(err error, code int) bool {
	var fault *amqp.Error
	return errors.As(err, &fault) && fault.Code == code
}

// listen puts a message in our own queue, asks the publishers, and hears for a while.
func (p *probe) listen(ctx context.Context, length time.Duration, hosts []string) {
	s, f := p.settings, p.facts
	hear := newHearing(time.Now())
	defer func() { f.Heard = hear.so() }()
	if _, ok := f.Asked.Get(); ok {
		p.hear(p.answers(), 0, func(d amqp.Delivery) {
			if a, is := s.ReadAnswer(d.UserId, d.Body); is {
				hear.answer(a, time.Now())
			}
		})
	}
	if _, ok := f.Listened.Get(); ok {
		p.hear(p.notifications(), enough, func(d amqp.Delivery) { hear.notification(d.RoutingKey, d.Body) })
	}
	kept := p.sends(ctx, "write to exchanges named earlybind.…", p.exchange(), "kept", func() (amqp.Publishing, error) {
		return amqp.Publishing{UserId: s.AMQPUser, Body: []byte("kept")}, nil
	})
	if kept != nil {
		f.Kept = did(kept)
	}
	p.ask(ctx)
	if f.Alarm == "" {
		p.wait(ctx, length)
	}
	if f.Alarm != "" { // it reads nothing more of this connection
		return
	}
	if kept == nil {
		f.Kept = Unseen[bool]("the connection was lost meanwhile")
		if q, ok := p.queue(p.kept()).Get(); ok && q.There {
			f.Kept = Saw(q.Messages > 0)
		}
	}
	if _, asked := f.Asked.Get(); !asked {
		return
	}
	answered := hear.so().Answers
	missing := slices.DeleteFunc(slices.Clone(hosts), func(host string) bool { _, has := answered[host]; return has })
	for _, host := range missing[:min(len(missing), maxLooks)] {
		if q, ok := p.queue(wire.PublisherQueue(host)).Get(); ok && q.Consumers > 0 {
			hear.silent(host)
		}
	}
}

// wait lets the time of listening pass, or what is left of the connection.
func (p *probe) wait(ctx context.Context, length time.Duration) {
	over := time.NewTimer(length)
	defer over.Stop()
	lost, blocked := p.conn.NotifyClose(make(chan *amqp.Error, 1)), p.blocked
	for {
		select {
		case <-over.C:
			return
		case b, ok := <-blocked:
			if p.alarm(b); !ok {
				blocked = nil
			}
		case <-lost:
			return
		case <-ctx.Done():
			return
		}
	}
}

// ask asks the publishers.
func (p *probe) ask(ctx context.Context) {
	if _, ok := p.facts.Asked.Get(); !ok {
		return
	}
	const what = "write to exchange " + exchangeRequests
	if is, ok := p.facts.Exchanges[exchangeRequests].Get(); ok && !is {
		why := errors.New("exchange " + exchangeRequests + " is not there")
		p.right(what, why)
		p.facts.Asked = Unseen[bool](why.Error())
		return
	}
	err := p.sends(ctx, what, exchangeRequests, wire.KeyStatesRequest, func() (amqp.Publishing, error) {
		return consumer.StatesRequest("earlybind-check", p.settings.AMQPUser, "earlybind check looks who answers")
	})
	if err != nil {
		p.facts.Asked = did(err)
	}
}

// hear delivers what comes into a queue of our own; with a limit no more than that many are
// ever delivered.
func (p *probe) hear(queue string, limit int, take func(amqp.Delivery)) {
	ch, err := p.conn.Channel() // closed with the connection
	if err == nil && limit > 0 {
		err = ch.Qos(limit, 0, false)
	}
	var deliveries <-chan amqp.Delivery
	if err == nil {
		deliveries, err = ch.Consume(queue, "", limit == 0, true, false, false, nil)
	}
	if err != nil {
		p.right("read queues named "+p.settings.Queue+".…", err)
		return
	}
	go func() {
		for d := range deliveries {
			take(d)
		}
	}()
}

// sends tells whether the user may send to an exchange, by sending: nil if the broker has it.
func (p *probe) sends(ctx context.Context, what, exchange, key string, message func() (amqp.Publishing, error)) error {
	if p.facts.Alarm != "" {
		return errBlocked
	}
	err := p.try(func(ch *amqp.Channel) error {
		if err := ch.Confirm(false); err != nil {
			return err
		}
		closed := ch.NotifyClose(make(chan *amqp.Error, 1))
		m, err := message()
		if err != nil {
			return err
		}
		confirm, err := ch.PublishWithDeferredConfirmWithContext(ctx, exchange, key, false, false, m)
		if err != nil {
			return err
		}
		return p.await(ctx, confirm, closed)
	})
	p.right(what, err)
	if isCode(err, amqp.AccessRefused) {
		return errors.New("the user may not " + what)
	}
	return err
}

// errBlocked: what was sent is not taken.
var errBlocked = errors.New("RabbitMQ takes no messages")

// await waits for the broker's word on a message. A channel that is closed leaves it without
// one, and tells why.
func (p *probe) await(ctx context.Context, confirm *amqp.DeferredConfirmation, closed <-chan *amqp.Error) error {
	ctx, cancel := context.WithTimeout(ctx, confirmWithin)
	defer cancel()
	select {
	case <-confirm.Done():
		if confirm.Acked() {
			return nil
		}
	case b := <-p.blocked:
		p.alarm(b)
		return errBlocked
	case <-ctx.Done():
		return ctx.Err()
	case err := <-closed:
		return orLost(err)
	}
	select {
	case err := <-closed:
		return orLost(err)
	case <-ctx.Done():
		return errors.New("the broker has refused it")
	}
}

func orLost(err *amqp.Error) error {
	if err == nil {
		return errors.New("the connection was lost")
	}
	return err
}

func (p *probe) alarm(b amqp.Blocking) {
	if b.Active {
		p.facts.Alarm = b.Reason
	}
}

// oneLine is an error of several lines.
func oneLine(err error) string {
	return strings.ReplaceAll(fmt.Sprint(err), "\n", "; ")
}
