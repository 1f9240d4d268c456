package check

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// notifications tells whether Nova sends them here, and which.
func notifications(f Facts, b BrokerFacts) []Finding {
	if !b.connected() {
		return nil
	}
	const id = "nova.notifications"
	const without = "hosts' events and Neutron's rows are enough to act; but what is gained is not told without them"
	exchange := f.Settings.NovaExchange
	there, looked := b.Exchanges[exchange].Get()
	_, listened := b.Listened.Get()
	switch {
	case looked && !there:
		return one(Finding{ID: id, Level: Note,
			Saw:   fmt.Sprintf("there is no exchange %s in vhost %s: Nova has sent no notification here, and no RPC goes through it", exchange, b.Vhost),
			Means: "either this is not the broker or the vhost of Nova's notifications, or Nova sends none: " + without,
			Do:    append(rightBroker(), sendNotifications()...),
		})
	case !listened:
		return one(Finding{ID: id, Level: Unknown, Saw: fmt.Sprintf("notifications on exchange %s could not be listened to: %s", exchange, b.Listened.Why()), Means: without})
	case len(b.Notifications) == 0:
		saw := fmt.Sprintf("no notification came through exchange %s in %s", exchange, f.Listened)
		if traces := b.traces(f); traces != "" {
			saw += "; " + traces
		}
		return one(Finding{ID: id, Level: Unknown, Saw: saw,
			Means: "an idle cloud sends none either. Without them: " + without,
			Do:    append(anywhere("-listen 5m, and meanwhile migrate, start or stop an instance"), sendNotifications()...),
		})
	}
	finding := Finding{ID: id, Level: Fit, Saw: fmt.Sprintf("in %s came %s", f.Listened, b.cameFrom())}
	if !b.fromComputes() {
		finding.Level = Unknown
		finding.Means = "none of nova-compute, whose nova.conf is another: whether it sends them was not seen"
		finding.Do = append(anywhere("-listen 5m, and meanwhile migrate, start or stop an instance"), sendNotifications()...)
	}
	return one(finding)
}

// traces tells what the queues say that Nova has made for notifications once.
func (b BrokerFacts) traces(f Facts) string {
	var there []string
	for _, name := range defaultQueueNames(f.Settings.NotificationTopics) {
		if q, ok := b.Queues[name].Get(); ok && q.There {
			there = append(there, name)
		}
	}
	if len(there) == 0 {
		return ""
	}
	return "but " + strings.Join(there, " and ") + " are there, which Nova, or another service in this vhost, has made for notifications"
}

// cameFrom tells of notifications by service and form.
func (b BrokerFacts) cameFrom() string {
	type form struct {
		service string
		topic   string
		format  string
	}
	counted := map[form]int{}
	hosts := map[form]map[string]bool{}
	for s, n := range b.Notifications {
		key := form{s.Service, s.Topic, s.format()}
		counted[key] += n
		if hosts[key] == nil {
			hosts[key] = map[string]bool{}
		}
		hosts[key][s.Host] = true
	}
	keys := slices.SortedFunc(maps.Keys(counted), func(a, b form) int {
		return strings.Compare(a.service+a.topic+a.format, b.service+b.topic+b.format)
	})
	var said []string
	for _, k := range keys {
		said = append(said, fmt.Sprintf("%d of %s on %s (%s, topic %s)", counted[k], k.service, few(slices.Sorted(maps.Keys(hosts[k]))), k.format, k.topic))
	}
	return strings.Join(said, "; ")
}

func (s Source) format() string {
	format, driver := "unversioned", "messaging"
	if s.Versioned {
		format = "versioned"
	}
	if s.Enveloped {
		driver = "messagingv2"
	}
	return format + ", driver " + driver
}

// fromComputes tells whether nova-compute has sent any: it calls itself "compute" in
// unversioned notifications, and "nova-compute" in versioned ones.
func (b BrokerFacts) fromComputes() bool {
	for s := range b.Notifications {
		if s.Service == "compute" || s.Service == "nova-compute" {
			return true
		}
	}
	return false
}

// types tells how exchanges and queues were made, as far as the management API has told.
func types(f Facts, b BrokerFacts) []Finding {
	if !b.connected() {
		return nil
	}
	const id = "rabbitmq.types"
	made, ok := b.Made.Get()
	if !ok {
		return one(Finding{ID: id, Level: Unknown, Saw: "how exchanges and queues were made (type, durable) cannot be seen over AMQP: " + b.Made.Why(),
			Do: anywhere("-management http://HOST:15672, with -management-user and -management-password-file of a user with the tag management that may see the vhost")})
	}
	var seen []string
	for _, name := range slices.Sorted(maps.Keys(made.Exchanges)) {
		e := made.Exchanges[name]
		seen = append(seen, fmt.Sprintf("exchange %s: %s, %s", name, e.Type, durable(e.Durable)))
		if e.Type != "topic" {
			return one(Finding{ID: id, Level: Blocker, Saw: fmt.Sprintf("exchange %s is of type %s", name, e.Type), Means: "earlybind binds topics, as oslo.messaging does: it would hear nothing",
				Do: anywhere("something else has made it: delete it, and Nova or the consumer makes it anew")})
		}
	}
	var queues []string
	for _, name := range slices.Sorted(maps.Keys(made.Queues)) {
		q := made.Queues[name]
		if strings.Contains(name, checkQueue) {
			continue
		}
		queues = append(queues, fmt.Sprintf("%s: %s, %s", name, q.Type, durable(q.Durable)))
		if ownQueue(f, name) && q.Type != f.Settings.QueueType {
			return one(Finding{ID: id, Level: Blocker,
				Saw:   fmt.Sprintf("queue %s is a %s queue, and EARLYBIND_QUEUE_TYPE=%s", name, q.Type, f.Settings.QueueType),
				Means: "a consumer does not start with other queues than it would make",
				Do:    anywhere("EARLYBIND_QUEUE_TYPE=" + q.Type + ", or with all consumers stopped and the journal empty: rabbitmqctl delete_queue (docs/settings.md)")})
		}
	}
	if len(seen)+len(queues) == 0 {
		return one(Finding{ID: id, Level: Unknown, Saw: "none of the exchanges and queues of Nova's notifications and of earlybind is there yet"})
	}
	return one(Finding{ID: id, Level: Fit, Saw: strings.Join(append(seen, queues...), "; ")})
}

func durable(is bool) string {
	if is {
		return "durable"
	}
	return "not durable"
}

// consumers tells how many of earlybind's sessions run: each reads the queue of the layout.
func consumers(f Facts, b BrokerFacts) []Finding {
	if !b.connected() {
		return nil
	}
	const id = "consumers"
	q, ok := b.Queues[f.Settings.Queue+".layout"].Get()
	shares := max(f.Settings.Shares, 1)
	per := ""
	if shares > 1 {
		per = fmt.Sprintf(" for %d shares", shares)
	}
	switch {
	case !ok:
		return one(Finding{ID: id, Level: Unknown, Saw: "whether consumers run was not seen: " + b.Queues[f.Settings.Queue+".layout"].Why()})
	case !q.There, q.Consumers == 0:
		return one(Finding{ID: id, Level: Note, Saw: "no consumer runs here", Means: "it is started next, or is away", Do: anywhere("README, \"Observe\", 1: two consumers")})
	case q.Consumers < 2*shares:
		return one(Finding{ID: id, Level: Note, Saw: fmt.Sprintf("%s of consumers%s", of(q.Consumers, "session"), per), Means: "nobody takes over when one ends", Do: anywhere("two consumers or more, on two machines")})
	}
	return one(Finding{ID: id, Level: Fit, Saw: fmt.Sprintf("%s of consumers%s", of(q.Consumers, "session"), per)})
}
