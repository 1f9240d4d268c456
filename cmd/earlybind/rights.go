package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/earlybind/earlybind/wire"
)

const aboutRights = `Prints the rabbitmqctl commands that make earlybind's RabbitMQ users and grant them what they need, and no
more: one user for the consumers, as which "earlybind pause", resume, parked, record, check and doctor -ask act too, and
one of its own for each compute host, whose messages are believed for that host alone. HOST is Nova's host of a compute
(EARLYBIND_HOST of its publisher). Nothing is connected to, and nothing changed.

  earlybind rights compute1 compute2                            look at them
  earlybind rights -vhost nova compute1 >rights.sh              for sudo sh rights.sh: each add_user asks for a password
  earlybind rights -hosts-only compute3                         of a host that comes later: the consumers' user is there
  earlybind rights -consumers-only                              the consumers' user alone
  openstack compute service list --service nova-compute -f value -c Host | xargs earlybind rights

Without a terminal each add_user reads its password from standard input: docs/faq.md has a loop that takes them from files.
The options are the consumer's settings of the same names (docs/settings.md). Exit status: 0; 1 it could not be written;
2 wrong options, or no HOST.`

// rights are what a user of RabbitMQ may do in a vhost: patterns of names of exchanges and
// queues, as rabbitmqctl set_permissions has them. TestRabbitMQRights proves them on a
// broker, as the lab has them.
type rights struct{ user, configure, write, read string }

// rightsOfConsumers are for the consumers' user: its own queues and exchanges, and to read
// Nova's notifications.
func rightsOfConsumers(user, queue, novaExchange string) rights {
	own := "^earlybind.*"
	if queue != "earlybind" {
		own = "^(earlybind|" + regexp.QuoteMeta(queue) + ").*"
	}
	return rights{user: user, configure: own, write: own, read: "^(" + strings.TrimPrefix(own, "^") + "|" + regexp.QuoteMeta(novaExchange) + ")$"}
}

// rightsOfHost are for the user of a compute host's publisher: to send events, and to read
// what it is asked.
func rightsOfHost(prefix, host string) rights {
	own := regexp.QuoteMeta(wire.PublisherQueue(host))
	return rights{
		user:      prefix + host,
		configure: "^" + own + "$",
		write:     "^(" + regexp.QuoteMeta(wire.ExchangeEvents) + "|" + own + ")$",
		read:      "^(" + regexp.QuoteMeta(wire.ExchangeRequests) + "|" + own + ")$",
	}
}

func (r rights) commands(vhost string) string {
	return fmt.Sprintf("rabbitmqctl add_user %s\nrabbitmqctl set_permissions -p %s %s %s %s %s\n",
		quoted(r.user), quoted(vhost), quoted(r.user), quoted(r.configure), quoted(r.write), quoted(r.read))
}

// quoted is a word as a shell takes it.
func quoted(word string) string { return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'" }

func printRights(_ context.Context, args []string, out, faults io.Writer) error {
	f := flag.NewFlagSet("rights", flag.ContinueOnError)
	vhost := f.String("vhost", "/", "the `VHOST` that Nova's notifications go to")
	user := f.String("user", "earlybind", "the consumers' `USER` (EARLYBIND_AMQP_USER)")
	prefix := f.String("prefix", "earlybind-", "what stands before a host's name in its `USER` (EARLYBIND_HOST_USER_PREFIX)")
	queue := f.String("queue", "earlybind", "the consumers' `QUEUE` (EARLYBIND_QUEUE)")
	hostsOnly := f.Bool("hosts-only", false, "leave out the consumers' user")
	consumersOnly := f.Bool("consumers-only", false, "the consumers' user alone, and no HOST")
	exchange := f.String("nova-exchange", "nova", "Nova's control_exchange, an `EXCHANGE` (EARLYBIND_NOVA_EXCHANGE)")
	hosts, err := parseFiles(f, aboutRights, "HOST...", args, faults)
	if err != nil {
		return err
	}
	var wrong []error
	if host := twice(hosts); host != "" { // the second add_user would fail
		wrong = append(wrong, fmt.Errorf("HOST %q was given twice", host))
	}
	for _, host := range hosts {
		if err := wire.CheckHost(host); err != nil {
			wrong = append(wrong, fmt.Errorf("HOST %q %w", host, err))
		} else if strings.Contains(host, ",") {
			wrong = append(wrong, fmt.Errorf("HOST %q must not hold a comma: several are separated by spaces", host))
		}
	}
	switch {
	case *consumersOnly && (*hostsOnly || len(hosts) > 0):
		wrong = append(wrong, errors.New("-consumers-only takes no HOST, and not -hosts-only"))
	case !*consumersOnly && len(hosts) == 0: // of a list that has failed, say
		wrong = append(wrong, errors.New("at least one HOST is needed; -consumers-only is for the consumers' user alone"))
	}
	if err := errors.Join(wrong...); err != nil {
		return misused(f, faults, err.Error())
	}
	if !*hostsOnly {
		fmt.Fprintf(out, "# the consumers\n%s", rightsOfConsumers(*user, *queue, *exchange).commands(*vhost))
	}
	for _, host := range hosts {
		fmt.Fprintf(out, "# the publisher on %s\n%s", host, rightsOfHost(*prefix, host).commands(*vhost))
	}
	return nil
}
