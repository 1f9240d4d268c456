package check

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/earlybind/earlybind/wire"
)

const (
	exchangeEvents   = wire.ExchangeEvents
	exchangeRequests = wire.ExchangeRequests
)

func (b BrokerFacts) connected() bool {
	_, ok := b.Version.Get()
	return ok
}

// connection tells of a broker that could not be reached.
func connection(_ Facts, b BrokerFacts) []Finding {
	if b.connected() {
		return nil
	}
	return one(Finding{ID: "rabbitmq", Level: Unknown,
		Saw:   "RabbitMQ could not be asked: " + b.Version.Why(),
		Means: "nothing is known of its version, the user's rights, its queues, Nova's notifications and the publishers",
		Do:    anywhere(cmp.Or(b.Next, "EARLYBIND_AMQP_URLS, EARLYBIND_AMQP_USER and EARLYBIND_AMQP_PASSWORD_FILE, as the consumer has them")),
	})
}

// alarm tells of a broker that takes no messages.
func alarm(_ Facts, b BrokerFacts) []Finding {
	if b.Alarm == "" {
		return nil
	}
	return one(Finding{ID: "rabbitmq.alarm", Level: Blocker,
		Saw:   "RabbitMQ blocks whoever publishes: " + b.Alarm,
		Means: "Nova and earlybind wait until it has memory and disk again",
		Do:    rabbitmqctl("list_queues -p " + b.Vhost + " name messages memory consumers   # which fill it; see rabbitmq.default-queues"),
	})
}

// brokerVersion tells whether it has what earlybind's queues need. Quorum queues have had a
// life of messages (x-message-ttl) since 3.10, and a single active consumer before
// (rabbitmq-server, release-notes/3.10.0.md).
//
// 4.2.6 and 4.3.0 want the right to configure for a passive declaration, which 4.2.7 and 4.3.1
// took back (rabbit_channel.erl of these tags; pull request 16085).
func brokerVersion(f Facts, b BrokerFacts) []Finding {
	version, ok := b.Version.Get()
	if !ok {
		return nil
	}
	const id = "rabbitmq.version"
	major, minor, known := parseVersion(version)
	switch {
	case !known:
		return one(Finding{ID: id, Level: Unknown, Saw: fmt.Sprintf("the broker calls itself %q", version), Means: "earlybind was run on RabbitMQ 3.10.8 and 4.0.5"})
	case version == "4.2.6" || version == "4.3.0":
		return one(Finding{ID: id, Level: Blocker,
			Saw:   "RabbitMQ " + version,
			Means: "it wants the right to configure exchanges that are only looked for: with the rights that they should have, publishers do not start, and consumers do not hear Nova",
			Do:    anywhere("RabbitMQ 4.2.7, 4.3.1 or later"),
		})
	case major < 3 || major == 3 && minor < 8:
		return one(Finding{ID: id, Level: Blocker, Saw: "RabbitMQ " + version, Means: "it has no queues with a single active consumer", Do: anywhere("RabbitMQ 3.10 or later")})
	case f.Settings.QueueType == "quorum" && major == 3 && minor < 10:
		return one(Finding{ID: id, Level: Blocker, Saw: "RabbitMQ " + version, Means: "its quorum queues take no x-message-ttl: the consumer cannot declare its queues",
			Do: anywhere("EARLYBIND_QUEUE_TYPE=classic for all consumers, or RabbitMQ 3.10 or later")})
	}
	return one(Finding{ID: id, Level: Fit, Saw: "RabbitMQ " + version})
}

func parseVersion(text string) (major, minor int, ok bool) {
	parts := strings.SplitN(text, ".", 3)
	if len(parts) < 2 {
		return 0, 0, false
	}
	major, err1 := strconv.Atoi(parts[0])
	minor, err2 := strconv.Atoi(parts[1])
	return major, minor, err1 == nil && err2 == nil
}

// rights tells whether the user may do what the consumer does, and nothing else.
func rights(f Facts, b BrokerFacts) []Finding {
	if !b.connected() {
		return nil
	}
	const id = "rabbitmq.rights"
	s := f.Settings
	grant := rabbitmqctl(fmt.Sprintf("set_permissions -p %s %s '%s' '%s' '%s'   # earlybind rights prints it, and those of the hosts",
		b.Vhost, s.AMQPUser, f.Rights.Configure, f.Rights.Write, f.Rights.Read))
	var lacks, unseen []string
	for _, r := range b.Rights {
		if has, ok := r.Has.Get(); !ok {
			unseen = append(unseen, r.What+" ("+r.Has.Why()+")")
		} else if !has {
			lacks = append(lacks, r.What)
		}
	}
	if len(lacks) > 0 {
		return one(Finding{ID: id, Level: Blocker,
			Saw: fmt.Sprintf("user %s may not %s", s.AMQPUser, strings.Join(lacks, ", nor ")), Means: "the consumer does not do its work with these rights", Do: grant})
	}
	var all []Finding
	made, _ := b.Made.Get()
	if has, ok := made.Permissions.Get(); ok && has != f.Rights {
		all = append(all, Finding{ID: id, Level: Note,
			Saw:   fmt.Sprintf("user %s has the rights configure '%s', write '%s', read '%s'", s.AMQPUser, has.Configure, has.Write, has.Read),
			Means: "they are others than it needs: who breaks into a consumer's host has them too (docs/security.md)", Do: grant})
	}
	if len(unseen) > 0 || len(b.Rights) == 0 {
		return append(all, Finding{ID: id, Level: Unknown, Saw: fmt.Sprintf("whether user %s may %s was not seen", s.AMQPUser, strings.Join(unseen, ", and "))})
	}
	return append(all, Finding{ID: id, Level: Fit, Saw: fmt.Sprintf("user %s may do what a consumer does", s.AMQPUser)})
}

// rightsOfNova tells whether Nova's user may read, delete and fill what is earlybind's, as it mostly may all in its vhost:
// each compute host has its password. Whose it is tells Nova's exchange.
func rightsOfNova(f Facts, b BrokerFacts) []Finding {
	made, _ := b.Made.Get()
	user := made.Exchanges[f.Settings.NovaExchange].By
	if user == "" || user == f.Settings.AMQPUser { // of that one tells rabbitmq.rights
		return nil
	}
	const id = "rabbitmq.nova-user"
	has, ok := made.Novas.Get()
	if !ok {
		return one(Finding{ID: id, Level: Unknown, Saw: fmt.Sprintf("what Nova's user %s may do with earlybind's queues was not seen: %s", user, made.Novas.Why()),
			Do: anywhere("-management-user of an administrator of RabbitMQ, who alone is shown users' rights")})
	}
	pattern := "^(?!" + ownNames(f.Settings.Queue) + ")"
	var may []string
	for _, right := range []struct{ pattern, what string }{
		{has.Read, "read and purge"}, {has.Configure, "delete"}, {has.Write, "write to"},
	} {
		reaches, known := f.reachesOwn(right.pattern)
		if !known {
			return one(Finding{ID: id, Level: Unknown, Saw: fmt.Sprintf("whether Nova's user %s may %s earlybind's queues was not seen: what '%s' allows is not known here",
				user, right.what, right.pattern), Do: anywhere("'" + pattern + "' keeps it off them (docs/security.md)")})
		}
		if reaches {
			may = append(may, right.what)
		}
	}
	if len(may) == 0 {
		return one(Finding{ID: id, Level: Fit, Saw: fmt.Sprintf("Nova's user %s is kept off earlybind's queues and exchanges", user)})
	}
	return one(Finding{ID: id, Level: Note,
		Saw: fmt.Sprintf("Nova's user %s may %s earlybind's queues and exchanges (configure '%s', write '%s', read '%s')", user, strings.Join(may, ", "), has.Configure, has.Write, has.Read),
		Means: "each compute host has its password: who breaks into one can take what consumers are to hear and to keep, and read tokens in parked messages. " +
			"earlybind works as it is (docs/security.md)",
		Do: keepOff(b.Vhost, user, pattern)})
}

// ownNames is a pattern of how the names of all that is earlybind's begin.
func ownNames(queue string) string {
	if strings.HasPrefix(queue, "earlybind") {
		return "earlybind"
	}
	return "(earlybind|" + queue + ")"
}

// reachesOwn tells whether a pattern of rights matches any name of earlybind's.
func (f Facts) reachesOwn(pattern string) (reaches, known bool) {
	own := f.Settings.Queue
	for _, name := range []string{own, own + ".notifications", own + ".journal", own + ".parked", own + ".paused", own + ".layout", exchangeEvents, exchangeRequests} {
		is, known := allows(pattern, name)
		if is || !known {
			return is, known
		}
	}
	return false, true
}

// allows tells whether a pattern of rights matches a name: anywhere in it, and an empty one only an empty name
// (rabbit_auth_backend_internal.erl). Go's expressions have no (?!…): the one that begins a pattern is taken
// apart; what else Go does not understand is not known.
func allows(pattern, name string) (is, known bool) {
	if pattern == "" {
		return name == "", true
	}
	if rest, ahead := strings.CutPrefix(pattern, "^(?!"); ahead {
		end := closing(rest)
		if end < 0 {
			return false, false
		}
		not, known := allows("^(?:"+rest[:end]+")", name)
		if not || !known {
			return false, known
		}
		return allows("^"+rest[end+1:], name)
	}
	expression, err := regexp.Compile(pattern)
	return err == nil && expression.MatchString(name), err == nil
}

// closing gives where the parenthesis is closed that stands open before a pattern; -1 if it is not clear.
func closing(pattern string) int {
	depth := 1
	for i, c := range pattern {
		switch c {
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i
			}
		case '\\', '[':
			return -1
		}
	}
	return -1
}

const (
	keyLife       = "message-ttl"    // milliseconds
	keyExpiry     = "expires"        // milliseconds that a queue may be unused
	keyDeliveries = "delivery-limit" // how often a message may come back; below 0 without an end
)

// lifeOfMessages tells whether a policy takes messages from the queues in which they are to
// last: the consumer itself gives those no life.
func lifeOfMessages(f Facts, b BrokerFacts) []Finding {
	if !b.connected() {
		return nil
	}
	const id = "rabbitmq.policy"
	means := map[string]string{
		keyLife:   "it takes from the journal what a restore must not lose, and what is paused; a consumer that starts then commits nothing (docs/brokers.md)",
		keyExpiry: "it deletes a queue that nobody reads, as what is paused is kept in: a consumer that starts then commits, paused or not (docs/brokers.md)",
	}
	made, _ := b.Made.Get()
	lasting := slices.DeleteFunc(slices.Sorted(maps.Keys(made.Queues)), func(name string) bool { return !lasts(f, name) })
	for _, name := range lasting {
		q := made.Queues[name]
		limits, _ := q.Limits.Get()
		for _, key := range []string{keyLife, keyExpiry} {
			if ms, limited := limits[key]; limited {
				return one(Finding{ID: id, Level: Blocker,
					Saw: fmt.Sprintf("policy %s gives queue %s %s = %.0f ms", q.Policy, name, key, ms), Means: means[key], Do: longLife(b.Vhost, f.Settings.Queue)})
			}
		}
	}
	parked := f.Settings.Queue + ".parked"
	key, limit, takes := takesParked(f, made.Queues[parked])
	kept, ok := b.Kept.Get()
	switch {
	case ok && !kept:
		return one(Finding{ID: id, Level: Blocker,
			Saw:   fmt.Sprintf("a message that was put in a queue of earlybind's was gone within %s: a policy gives messages a short life", f.Listened),
			Means: means[keyLife], Do: longLife(b.Vhost, f.Settings.Queue)})
	case takes:
		return one(Finding{ID: id, Level: Note,
			Saw:   fmt.Sprintf("policy %s gives queue %s %s = %.0f", made.Queues[parked].Policy, parked, key, limit),
			Means: "messages that no consumer understands are put aside there, and can be gone before anybody has looked at them (docs/brokers.md)", Do: longLife(b.Vhost, f.Settings.Queue)})
	case len(lasting) > 0 && made.knowsPolicies(lasting):
		return one(Finding{ID: id, Level: Fit, Saw: "no policy gives the messages or queues of earlybind a short life"})
	case ok:
		return one(Finding{ID: id, Level: Unknown,
			Saw: fmt.Sprintf("a message in a queue of earlybind's has lived for %s; a policy that gives it a longer life, but not for ever, cannot be seen over AMQP", f.Listened),
			Do:  anywhere("-listen 90s finds that of openstack-helm (70 s); -management URL finds all")})
	}
	return one(Finding{ID: id, Level: Unknown, Saw: "whether a policy gives earlybind's messages a short life was not seen: " + b.Kept.Why()})
}

// takesParked tells by what a policy takes parked messages sooner than the consumer would have them taken: of the queue's
// own limits and a policy's the lower ones count.
func takesParked(f Facts, q MadeQueue) (key string, limit float64, takes bool) {
	limits, _ := q.Limits.Get()
	own := f.Settings.ParkedArgs()
	for _, key := range []string{keyLife, keyExpiry, "max-length", "max-length-bytes", keyDeliveries} {
		limit, limited := limits[key]
		least, has := own["x-"+key].(int64)
		switch {
		case !limited, key == keyDeliveries && limit < 0:
		case key == keyExpiry, has && limit < float64(least):
			return key, limit, true
		}
	}
	return "", 0, false
}

// knowsPolicies tells whether the policies in force on all these queues were seen.
func (m Made) knowsPolicies(queues []string) bool {
	return !slices.ContainsFunc(queues, func(name string) bool {
		_, seen := m.Queues[name].Limits.Get()
		return !seen
	})
}

// lasts tells whether messages are to last in a queue: the journal, what is paused, and the
// queue that a check makes in their place while there are none.
func lasts(f Facts, name string) bool {
	return ownQueue(f, name) && (strings.HasSuffix(name, ".journal") || strings.HasSuffix(name, ".paused") || strings.Contains(name, checkQueue))
}

// ownQueue tells whether a queue is earlybind's own.
func ownQueue(f Facts, name string) bool {
	return name == f.Settings.Queue || strings.HasPrefix(name, f.Settings.Queue+".") || strings.HasPrefix(name, "earlybind.")
}

// checkQueue is part of the names of the queues that a check makes.
const checkQueue = ".check."

// defaultQueues tells of queues that Nova makes for its notifications and that nobody reads:
// oslo.messaging's notifier declares <topic>.<priority> itself
// (oslo_messaging/_drivers/impl_rabbit.py, _publish_and_creates_default_queue).
func defaultQueues(f Facts, b BrokerFacts) []Finding {
	if !b.connected() {
		return nil
	}
	const id = "rabbitmq.default-queues"
	var unread, names, bounded, unseen []string // names are those of unread
	waiting, there := 0, 0
	why := ""
	made, _ := b.Made.Get()
	for _, name := range slices.Sorted(maps.Keys(b.Queues)) {
		if !defaultQueue(f, name) {
			continue
		}
		q, ok := b.Queues[name].Get()
		switch {
		case !ok:
			unseen, why = append(unseen, name), b.Queues[name].Why()
		case !q.There:
		case q.Consumers > 0:
			there++
		case made.Queues[name].bounded():
			there++
			bounded = append(bounded, fmt.Sprintf("%s (%d wait, bounded by policy %s)", name, q.Messages, made.Queues[name].Policy))
		default:
			there++
			waiting += q.Messages
			names = append(names, name)
			unread = append(unread, fmt.Sprintf("%s (%d)", name, q.Messages))
		}
	}
	var all []Finding
	if len(unread) > 0 {
		means := "unless a policy bounds them they fill the broker, on which Nova depends; whether one does cannot be seen over AMQP (-management URL)"
		if made.knowsPolicies(names) {
			means = "no policy bounds them: they fill the broker, on which Nova depends"
		}
		all = append(all, Finding{ID: id, Level: Note, Saw: fmt.Sprintf("nobody reads %s: %s", strings.Join(unread, ", "), of(waiting, "message")+" waiting"),
			Means: means, Do: boundDefaultQueues(b.Vhost)})
	}
	if len(unseen) > 0 {
		all = append(all, Finding{ID: id, Level: Unknown, Saw: fmt.Sprintf("whether anybody reads %s was not seen: %s", strings.Join(unseen, ", "), why),
			Means: "queues that Nova makes for its notifications and nobody reads fill the broker",
			Do:    append(rabbitmqctl("list_queues -p "+b.Vhost+" name messages consumers policy"), boundDefaultQueues(b.Vhost)...)})
	}
	if len(all) > 0 {
		return all
	}
	saw := "none of the queues that Nova makes for its notifications is there"
	switch {
	case len(bounded) > 0:
		saw = "nobody reads " + strings.Join(bounded, ", ")
	case there > 0:
		saw = "the queues that Nova makes for its notifications are read"
	}
	return one(Finding{ID: id, Level: Fit, Saw: saw})
}

func defaultQueue(f Facts, name string) bool {
	return slices.Contains(defaultQueueNames(f.Settings.NotificationTopics), name)
}

// defaultQueueNames are the queues that notifiers make: of oslo's and Nova's own topics, and
// of those that earlybind is told of.
func defaultQueueNames(topics []string) []string {
	all := append([]string{"notifications", "versioned_notifications"}, topics...)
	slices.Sort(all)
	var names []string
	for _, topic := range slices.Compact(all) {
		for _, priority := range []string{"info", "error"} {
			names = append(names, topic+"."+priority)
		}
	}
	return names
}

// bounded tells whether a policy bounds what waits in the queue.
func (q MadeQueue) bounded() bool {
	limits, _ := q.Limits.Get()
	for _, key := range []string{keyLife, keyExpiry, "max-length", "max-length-bytes"} {
		if _, limited := limits[key]; limited {
			return true
		}
	}
	return false
}
