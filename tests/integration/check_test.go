//go:build integration

package integration

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/earlybind/earlybind/check"
	"github.com/earlybind/earlybind/consumer"
	"github.com/earlybind/earlybind/handover"
	broking "github.com/earlybind/earlybind/internal/broker"
	"github.com/earlybind/earlybind/internal/config"
	"github.com/earlybind/earlybind/tests/lab"
	"github.com/earlybind/earlybind/wire"
)

// checked is what a check has found.
type checked struct {
	testing.TB
	findings []check.Finding
}

// wants wants a finding of that level, with a text in it.
func (c checked) wants(id string, level check.Level, text string) {
	c.Helper()
	for _, f := range c.findings {
		raw, err := json.Marshal(f)
		must(c, err)
		if f.ID == id && f.Level == level && strings.Contains(strings.ReplaceAll(string(raw), `\"`, `"`), text) {
			return
		}
	}
	c.Errorf("no finding %s of level %s with %q:\n%s", id, level, text, check.Text(c.findings, nil))
}

// checkSettings are a consumer's, on a broker.
func checkSettings(url, user, password string) consumer.Settings {
	return consumer.Settings{
		Settings:     broking.Settings{AMQPUrls: []string{url}, AMQPUser: user, AMQPPassword: config.Secret(password)},
		Policy:       handover.PolicyAuto,
		NovaExchange: "nova", NotificationTopics: []string{"notifications", "versioned_notifications"},
		Queue: "earlybind", QueueType: "quorum", HostUserPrefix: "earlybind-", NeutronConcurrentActivate: "detect", Shares: 1,
	}
}

// checkBroker checks a broker, and nothing else, as a user, while something is done.
func checkBroker(b *broker, user string, listen time.Duration, api *check.Management, meanwhile func()) checked {
	b.Helper()
	s := checkSettings(b.url(), user, b.password)
	facts := check.Facts{Settings: s, Rights: check.Permissions{Configure: "^earlybind.*", Write: "^earlybind.*", Read: "^(earlybind.*|nova)$"}, Listened: listen}
	done := make(chan check.BrokerFacts)
	go func() { done <- check.AskBroker(b.Context(), s, []string{source, dest}, listen, api) }()
	if meanwhile != nil {
		meanwhile()
	}
	facts.Brokers = []check.BrokerFacts{<-done}
	facts.Nova.Hosts = check.Saw([]check.ComputeHost{{Name: source, Up: true}, {Name: dest, Up: true}})
	return checked{b, check.Judge(facts)}
}

func (b *broker) management() *check.Management {
	return &check.Management{URL: "http://" + b.address + ":15672", User: "admin", Password: config.Secret(b.password)}
}

// queues are the names of those that there are.
func (b *broker) queues() []string {
	b.Helper()
	var all []struct{ Name string }
	b.api(http.MethodGet, b.path("queues"), nil, &all)
	var names []string
	for _, q := range all {
		names = append(names, q.Name)
	}
	slices.Sort(names)
	return names
}

// A broker on which nothing has happened yet, and then what Nova, a consumer and publishers
// make there, well and badly.
func TestRabbitMQCheck(t *testing.T) {
	t.Parallel() // it listens, half a minute in all, and waits for statistics
	b := newBroker(t)

	t.Run("Empty", func(t *testing.T) {
		c := checkBroker(b, "earlybind", time.Second, nil, nil)
		c.TB = t
		c.wants("nova.notifications", check.Note, "there is no exchange nova")
		c.wants("publishers", check.Unknown, "exchange earlybind is not there")
		c.wants("rabbitmq.rights", check.Unknown, "exchange nova is not there")
		c.wants("rabbitmq.default-queues", check.Fit, "none of the queues")
		c.wants("rabbitmq.policy", check.Unknown, "has lived for 1s")
		c.wants("rabbitmq.types", check.Unknown, "-management")
		c.wants("rabbitmq.version", check.Fit, "RabbitMQ ")
		c.wants("consumers", check.Note, "no consumer runs")
		if left := b.queues(); len(left) != 0 {
			t.Errorf("it has left %q", left)
		}
	})

	nova := b.nova(false)
	startReplica(b, newFakeCloud(t).neutron, nil).await("consumer.active")
	before := b.queues()

	t.Run("NotificationsThatNobodyReads", func(t *testing.T) {
		// As oslo.messaging's notifier declares it.
		for _, queue := range []string{"notifications.info", "versioned_notifications.info"} {
			_, err := nova.ch.QueueDeclare(queue, false, false, false, false, nil)
			must(t, err)
			must(t, nova.ch.QueueBind(queue, queue, "nova", false, nil))
		}
		g := guest{id: newUUID(), request: "req-" + newUUID()}
		c := checkBroker(b, "earlybind", 45*time.Second, nil, func() {
			eventually(t, "the check to listen", func() (bool, error) {
				// The queue is there before it is bound.
				return slices.ContainsFunc(b.queues(), func(q string) bool {
					bound := b.bindings("nova", q)
					return strings.HasSuffix(q, ".notifications") && strings.Contains(q, ".check.") && bound["notifications.info"] && bound["versioned_notifications.info"]
				}), nil
			})
			nova.prepares(g)
		})
		c.TB = t
		c.wants("nova.notifications", check.Fit, "2 of compute on "+dest+" (unversioned, driver messagingv2, topic notifications)")
		c.wants("nova.notifications", check.Fit, "2 of nova-compute on "+dest+" (versioned, driver messagingv2, topic versioned_notifications)")
		c.wants("rabbitmq.default-queues", check.Note, "nobody reads notifications.info")
		c.wants("rabbitmq.rights", check.Fit, "may do what a consumer does")
		c.wants("consumers", check.Note, "1 session of consumers")
		for _, queue := range []string{"notifications.info", "versioned_notifications.info"} {
			if n := ready(t, b.channel("openstack"), queue); n != 2 {
				t.Errorf("%d messages are in %s, of 2", n, queue)
			}
		}
		c = checkBroker(b, "earlybind", time.Second, b.management(), nil)
		c.TB = t
		c.wants("rabbitmq.default-queues", check.Note, "no policy bounds them")
		c.wants("rabbitmq.default-queues", check.Note, "4 messages waiting")
		b.api(http.MethodPut, b.path("policies")+"/nova-notifications", map[string]any{
			"pattern": `^(versioned_)?notifications\.`, "apply-to": "queues", "definition": map[string]any{"message-ttl": 600000, "max-length": 10000},
		}, nil)
		eventually(t, "the policy to be in force", func() (bool, error) {
			var q struct{ Policy string }
			b.api(http.MethodGet, b.path("queues")+"/notifications.info", nil, &q)
			return q.Policy != "", nil
		})
		c = checkBroker(b, "earlybind", time.Second, b.management(), nil)
		c.TB = t
		c.wants("rabbitmq.default-queues", check.Fit, "bounded by policy nova-notifications")
		c.wants("rabbitmq.types", check.Fit, "exchange nova: topic, not durable")
		c.wants("rabbitmq.types", check.Fit, "earlybind.journal: quorum, durable")
		c.wants("rabbitmq.policy", check.Fit, "")
		c.wants("rabbitmq.rights", check.Fit, "may do what a consumer does")
		c.wants("rabbitmq.nova-user", check.Fit, "Nova's user openstack is kept off")
	})

	t.Run("NovasUser", func(t *testing.T) {
		may := func(pattern string) {
			b.api(http.MethodPut, "permissions/"+b.vhost+"/openstack", map[string]string{"configure": pattern, "write": pattern, "read": pattern}, nil)
		}
		purges := func() error {
			ch := b.channel("openstack")
			_, err := ch.QueuePurge("earlybind.parked", false)
			return err
		}
		if err := purges(); err == nil {
			t.Error("what is said to be kept off is not")
		}
		may(".*") // as deployment tools have it
		c := checkBroker(b, "earlybind", time.Second, b.management(), nil)
		c.TB = t
		c.wants("rabbitmq.nova-user", check.Note, "user openstack may read and purge, delete, write to earlybind's queues")
		c.wants("rabbitmq.nova-user", check.Note, "set_permissions -p "+b.vhost+" openstack '^(?!earlybind)' '^(?!earlybind)' '^(?!earlybind)'")
		must(t, purges())
		may("^(?!earlybind)")
	})

	t.Run("Publishers", func(t *testing.T) {
		states := func(host string, changed func(*wire.HostStates)) wire.HostStates {
			s := wire.HostStates{Schema: wire.SchemaVersion, Host: host, Order: wire.Order{Epoch: 1}}
			if changed != nil {
				changed(&s)
			}
			return s
		}
		// A publisher that has its queue, and is asked.
		asked := b.channel("earlybind-" + source)
		_, err := asked.QueueDeclare(wire.PublisherQueue(source), true, true, false, false, nil)
		must(t, err)
		must(t, asked.QueueBind(wire.PublisherQueue(source), "#", wire.ExchangeRequests, false, nil))
		requests, err := asked.Consume(wire.PublisherQueue(source), "", true, false, false, false, nil)
		must(t, err)

		// awaitQuestion waits until a check has asked; others may ask too.
		awaitQuestion := func(since time.Time) {
			t.Helper()
			for {
				select {
				case r := <-requests:
					n, err := wire.Decode(r.Body)
					must(t, err)
					q, err := wire.ParseStatesRequest(n)
					must(t, err)
					if sent, _ := n.SentAt(); strings.Contains(q.Reason, "earlybind check") && sent.After(since) {
						if r.UserId != "earlybind" || r.Expiration == "" {
							t.Errorf("asked by %q, for %q ms", r.UserId, r.Expiration)
						}
						return
					}
				case <-time.After(patience):
					t.Error("the publisher was not asked")
					return
				}
			}
		}

		c := checkBroker(b, "earlybind", 12*time.Second, nil, func() {
			awaitQuestion(time.Now().Add(-time.Second))
			one := b.host(source)
			one.send(wire.EventStates, states(source, nil).RoutingKey(), states(source, nil))
			one.send(wire.EventStates, states(dest, nil).RoutingKey(), states(dest, nil)) // in another's name
		})
		c.TB = t
		c.wants("publishers", check.Fit, "of 1 of 2 hosts")
		c.wants("publishers.identity", check.Blocker, dest)
		c.wants("clock", check.Fit, "1 host")
		c.wants("libvirt", check.Fit, "0 domains")

		c = checkBroker(b, "earlybind", time.Second, nil, nil)
		c.TB = t
		c.wants("libvirt", check.Blocker, source) // connected, and silent
		c.wants("publishers.missing", check.Note, dest)

		began := time.Now()
		c = checkBroker(b, "earlybind", 12*time.Second, nil, func() {
			awaitQuestion(began)
			one := b.host(source)
			future := map[string]any{"schema": wire.SchemaVersion + 1, "host": source}
			one.send(wire.EventStates, states(source, nil).RoutingKey(), future)
			two := b.host(dest)
			n, err := wire.NewNotification(wire.PublisherID(dest), wire.EventStates, states(dest, nil), newUUID(), time.Now().Add(-3*time.Minute))
			must(t, err)
			body, err := n.Encode()
			must(t, err)
			publish(t, two.ch, wire.ExchangeEvents, states(dest, nil).RoutingKey(), amqp.Publishing{UserId: two.user, Body: body})
		})
		c.TB = t
		c.wants("publishers.schema", check.Blocker, source)
		c.wants("clock", check.Note, "behind")
	})

	t.Run("Rights", func(t *testing.T) {
		c := checkBroker(b, "earlybind-"+source, time.Second, nil, nil)
		c.TB = t
		c.wants("rabbitmq.rights", check.Blocker, "may not make queues named earlybind.…, nor make exchanges named earlybind.…, nor write to exchanges named earlybind.…")
		c.wants("publishers", check.Unknown, "may make no queue of its own")
		c.wants("libvirt", check.Unknown, "no publisher has answered")
		c = checkBroker(b, "admin", time.Second, b.management(), nil)
		c.TB = t
		c.wants("rabbitmq.rights", check.Note, "configure '.*'")
		rights := map[string]string{"configure": "^earlybind.*", "write": "^earlybind.*", "read": "^earlybind.*"}
		b.api(http.MethodPut, "permissions/"+b.vhost+"/earlybind", rights, nil)
		c = checkBroker(b, "earlybind", time.Second, nil, nil)
		c.TB = t
		c.wants("rabbitmq.rights", check.Blocker, "may not read exchange nova")
		rights["read"] = "^(earlybind.*|nova)$"
		b.api(http.MethodPut, "permissions/"+b.vhost+"/earlybind", rights, nil)
	})

	t.Run("AShortLife", func(t *testing.T) {
		life := func(ms int) {
			b.api(http.MethodPut, b.path("policies")+"/ha_ttl_nova", map[string]any{
				"pattern": `^(?!(amq\.|reply_)).*`, "apply-to": "all", "priority": 1, "definition": map[string]any{"message-ttl": ms},
			}, nil)
		}
		life(1000)
		c := checkBroker(b, "earlybind", 4*time.Second, nil, nil)
		c.TB = t
		c.wants("rabbitmq.policy", check.Blocker, "gone within 4s")
		life(70000)
		c = checkBroker(b, "earlybind", time.Second, b.management(), nil)
		c.TB = t
		c.wants("rabbitmq.policy", check.Blocker, "message-ttl = 70000 ms")
		inForce := func(policy, queue string) {
			t.Helper()
			eventually(t, "the policy "+policy+" to be in force on "+queue, func() (bool, error) {
				var q struct{ Policy string }
				b.api(http.MethodGet, b.path("queues")+"/"+queue, nil, &q)
				return q.Policy == policy, nil
			})
		}
		// Of the parking queue alone.
		b.api(http.MethodPut, b.path("policies")+"/few", map[string]any{
			"pattern": "parked$", "apply-to": "queues", "priority": 2, "definition": map[string]any{"max-length": 10},
		}, nil)
		b.api(http.MethodDelete, b.path("policies")+"/ha_ttl_nova", nil, nil)
		inForce("few", "earlybind.parked")
		inForce("", "earlybind.journal")
		c = checkBroker(b, "earlybind", time.Second, b.management(), nil)
		c.TB = t
		c.wants("rabbitmq.policy", check.Note, "policy few gives queue earlybind.parked max-length = 10")
		life(70000)
		// What is said to be done about it.
		b.api(http.MethodPut, b.path("policies")+"/earlybind", map[string]any{
			"pattern": "^earlybind", "apply-to": "queues", "priority": 100, "definition": map[string]any{"max-length-bytes": 268435456},
		}, nil)
		inForce("earlybind", "earlybind.journal")
		inForce("earlybind", "earlybind.parked")
		c = checkBroker(b, "earlybind", time.Second, b.management(), nil)
		c.TB = t
		c.wants("rabbitmq.policy", check.Fit, "")
	})

	// The test's own queues beside, a check has left nothing, and taken nothing away.
	left := b.queues()
	for _, queue := range before {
		if !slices.Contains(left, queue) {
			t.Errorf("queue %s has gone", queue)
		}
	}
	for _, queue := range left {
		if strings.Contains(queue, ".check.") {
			t.Errorf("queue %s was left", queue)
		}
	}
	var exchanges []struct{ Name string }
	b.api(http.MethodGet, b.path("exchanges"), nil, &exchanges)
	for _, e := range exchanges {
		if strings.Contains(e.Name, ".check.") {
			t.Errorf("exchange %s was left", e.Name)
		}
	}
}

// ofLab is the lab's cloud, with earlybind's own credentials and its administrator's for Nova.
func ofLab(t testing.TB, neutron *gophercloud.ServiceClient, listen time.Duration) check.Cloud {
	t.Helper()
	l := theLab(t)
	return check.Cloud{
		Settings: settingsOfLab(t, l), Listen: listen,
		Rights:  check.Permissions{Configure: "^earlybind.*", Write: "^earlybind.*", Read: "^(earlybind.*|nova)$"},
		Neutron: func(context.Context) (check.Neutron, error) { return check.NewNeutron(neutron), nil },
		Nova:    func(context.Context) (check.Nova, error) { return check.NewNova(l.Nova), nil },
		Agents:  func(context.Context) (check.AgentLister, error) { return check.NewAgents(l.Neutron), nil },
		Broker: func(ctx context.Context, s consumer.Settings, hosts []string) check.BrokerFacts {
			return check.AskBroker(ctx, s, hosts, listen, nil)
		},
	}
}

// settingsOfLab are the lab's consumers', as far as RabbitMQ goes.
func settingsOfLab(t testing.TB, l *lab.Lab) consumer.Settings {
	t.Helper()
	password, err := l.Password()
	must(t, err)
	return checkSettings("amqp://"+l.Address("rabbitmq")+":5672/", "earlybind", password)
}

func checkOfLab(t testing.TB, neutron *gophercloud.ServiceClient) checked {
	t.Helper()
	return checked{t, check.Judge(ofLab(t, neutron, time.Second).Gather(t.Context()))}
}

// The roles of earlybind, of an administrator and of a user of Neutron's as the release wants
// them; what the release is.
func TestNeutronCheck(t *testing.T) {
	l := theLab(t)
	newer := l.Release != "zed"
	as := func(cloud string) *gophercloud.ServiceClient {
		provider, err := l.Provider(t.Context(), cloud)
		must(t, err)
		client, err := openstack.NewNetworkV2(provider, gophercloud.EndpointOpts{Region: "RegionOne"})
		must(t, err)
		return client
	}
	c := checkOfLab(t, as("earlybind"))
	c.wants("keystone", check.Fit, "user earlybind of project service")
	c.wants("neutron.binding-extended", check.Fit, "")
	c.wants("neutron.role", check.Fit, "may write port bindings")
	c.wants("neutron.agents", check.Fit, "live")
	c.wants("neutron.driver.openvswitch", check.Fit, "EARLYBIND_POLICY=auto makes it resumed")
	admin := checkOfLab(t, as("admin"))
	if newer {
		c.wants("neutron.concurrent-activate", check.Fit, "23.0.0 (2023.2) or later")
		admin.wants("neutron.role", check.Blocker, "openstack role add --user admin --project admin service")
	} else {
		c.wants("neutron.concurrent-activate", check.Blocker, "only observes")
		admin.wants("neutron.role", check.Fit, "may write port bindings")
	}
}

// The whole lab, as an operator checks it: the program in a consumer's container, with the
// consumer's environment, while the guest is paused and goes on.
func TestNovaCheckFindsTheLabFit(t *testing.T) {
	l := theLab(t)
	guest, err := l.Server(t.Context())
	must(t, err)
	const at = "/tmp/earlybind-check"
	must(t, l.Copy(t.Context(), built(t, "earlybind"), "consumer1", at))
	defer func() { _, _ = l.Exec(context.WithoutCancel(t.Context()), "consumer1", "rm", "-f", at) }()

	type result struct {
		out string
		err error
	}
	done := make(chan result)
	go func() {
		out, err := l.Exec(t.Context(), "consumer1", at, "check", "-nova-cloud", "admin", "-listen", "25s", "-json")
		done <- result{out, err}
	}()
	// nova-compute tells of both, and no port is touched; when the program listens is not known.
	var r result
	for ended := false; !ended; {
		for _, action := range []string{"pause", "unpause"} {
			must(t, l.Do(t.Context(), guest.ID, action))
			_, err = l.Settled(t.Context())
			must(t, err)
		}
		select {
		case r = <-done:
			ended = true
		default:
		}
	}
	if r.err != nil {
		t.Fatalf("%v\n%s", r.err, r.out)
	}
	var got struct {
		Verdict  check.Verdict
		Findings []check.Finding
	}
	must(t, json.Unmarshal([]byte(r.out), &got))
	c := checked{t, got.Findings}
	t.Logf("\n%s", check.Text(got.Findings, nil))
	if got.Verdict != check.IsFit {
		t.Errorf("verdict %s", got.Verdict)
	}
	for _, id := range []string{
		"keystone", "neutron.binding-extended", "neutron.role", "neutron.concurrent-activate", "neutron.read", "neutron.driver.openvswitch", "neutron.agents",
		"nova.version", "nova.hosts", "hosts.names", "publishers", "libvirt", "clock", "rabbitmq.version", "rabbitmq.rights", "nova.notifications", "consumers",
	} {
		c.wants(id, check.Fit, "")
	}
	c.wants("nova.version", check.Fit, "2025.1")
	// The probe has an agent, and neither a guest nor a publisher.
	c.wants("publishers", check.Fit, "2 of 3 hosts")
	c.wants("publishers.missing", check.Note, "probe")
	c.wants("nova.notifications", check.Fit, "of nova-compute on "+guest.Host)
	// The lab has no Ceilometer: this is what it is to be warned of.
	c.wants("rabbitmq.default-queues", check.Note, "versioned_notifications.info")
}
