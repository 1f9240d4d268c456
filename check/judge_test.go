package check

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

// One thing at a time that cannot be seen: then fewer findings are fit than where all is seen,
// and none is a blocker.
func TestWhatCannotBeSeenIsNeverFit(t *testing.T) {
	const why = "it was hidden"
	all := Count(Fit, Judge(fit()))
	for name, hide := range map[string]func(*Facts){
		"account":       func(f *Facts) { f.Neutron.Account = Unseen[Account](why) },
		"extended":      func(f *Facts) { f.Neutron.Extended = Unseen[bool](why) },
		"safe":          func(f *Facts) { f.Neutron.Safe = Unseen[bool](why) },
		"may write":     func(f *Facts) { f.Neutron.MayWrite = Unseen[bool](why) },
		"reads rows":    func(f *Facts) { f.Neutron.ReadsRows = Unseen[bool](why) },
		"agents":        func(f *Facts) { f.Neutron.Agents = Unseen[[]Agent](why) },
		"Nova's":        func(f *Facts) { f.Nova.Version = Unseen[string](why) },
		"hosts":         func(f *Facts) { f.Nova.Hosts = Unseen[[]ComputeHost](why) },
		"broker":        func(f *Facts) { f.Brokers[0] = BrokerFacts{Version: Unseen[string](why)} },
		"right":         func(f *Facts) { f.Brokers[0].Rights[0].Has = Unseen[bool](why) },
		"rights":        func(f *Facts) { f.Brokers[0].Rights = nil },
		"asked":         func(f *Facts) { f.Brokers[0].Asked, f.Brokers[0].Answers = Unseen[bool](why), nil },
		"notifications": func(f *Facts) { f.Brokers[0].Listened, f.Brokers[0].Notifications = Unseen[bool](why), nil },
		"kept":          func(f *Facts) { byAMQP(f); f.Brokers[0].Kept = Unseen[bool](why) },
		"made":          byAMQP,
		"Nova's rights": func(f *Facts) {
			m, _ := f.Brokers[0].Made.Get()
			m.Novas = Unseen[Permissions](why)
			f.Brokers[0].Made = Saw(m)
		},
		"default queue": func(f *Facts) { f.Brokers[0].Queues["notifications.info"] = Unseen[Queue](why) },
		"consumers":     func(f *Facts) { f.Brokers[0].Queues["earlybind.layout"] = Unseen[Queue](why) },
	} {
		f := fit()
		hide(&f)
		found := Judge(f)
		if Count(Fit, found) >= all || Count(Unknown, found) == 0 || Count(Blocker, found) > 0 {
			t.Errorf("%s:\n%s", name, Text(found, nil))
		}
	}
	if found := Judge(Facts{Brokers: []BrokerFacts{{}}}); Count(Fit, found)+Count(Blocker, found) > 0 {
		t.Errorf("nothing was seen:\n%s", Text(found, nil))
	}
}

func TestEveryFindingOfSeveralBrokersNamesItsOwn(t *testing.T) {
	f := fit()
	second := fit().Brokers[0]
	second.Name, second.Answers, second.Kept = "cell2:5672", map[string]Answer{"compute3": {Host: "compute3"}}, Saw(false)
	f.Brokers = append(f.Brokers, second)
	named := map[string]int{}
	for _, found := range Judge(f) {
		if found.ID == "rabbitmq.policy" {
			named[found.Broker]++
		}
	}
	if !maps.Equal(named, map[string]int{"rabbit:5672/nova": 1, "cell2:5672": 1}) {
		t.Errorf("%v", named)
	}
	if answers := f.answers(); len(answers) != 3 {
		t.Errorf("%d hosts have answered", len(answers))
	}
}

func TestBlockersComeFirstAndCount(t *testing.T) {
	f := fit()
	f.Neutron.MayWrite = Saw(false)
	f.Nova.Hosts = Unseen[[]ComputeHost]("why")
	found := Judge(f)
	if text := Text(found, nil); found[0].ID != "neutron.role" || !strings.Contains(text, "\nnot fit for earlybind: 1 blocker, 0 notes, 1 unknown, ") {
		t.Error(text)
	}
}

func TestVerdict(t *testing.T) {
	f := fit()
	if unread := f.Unread(); len(unread) != 0 || Judgement(Judge(f), unread) != IsFit {
		t.Errorf("%q", unread)
	}
	f.Brokers[0] = BrokerFacts{Version: Unseen[string]("refused")}
	unread := f.Unread()
	if !slices.Equal(unread, []string{"RabbitMQ: refused"}) || Judgement(Judge(f), unread) != IsOpen {
		t.Errorf("%q", unread)
	}
	f.Neutron.MayWrite = Saw(false)
	if Judgement(Judge(f), unread) != IsNotFit {
		t.Error("a blocker, and a broker that could not be asked")
	}
}

// What connected and then told nothing was not read.
func TestWhatHasToldNothingIsUnread(t *testing.T) {
	lost := Unseen[bool]("the connection was lost")
	for _, c := range []struct {
		name   string
		change func(*Facts)
		want   []string
	}{
		{"a broker is lost at once", func(f *Facts) {
			f.Brokers[0] = BrokerFacts{Name: "rabbit:5672", Version: Saw("4.0.5"), Rights: []Right{{"a", lost}, {"b", lost}}}
		}, []string{"RabbitMQ: the connection to rabbit:5672 was lost: the connection was lost"}},
		{"a broker is lost later", func(f *Facts) { f.Brokers[0].Rights = []Right{{"a", Saw(true)}, {"b", lost}} }, nil},
		{"a broker lets a user do nothing", func(f *Facts) { f.Brokers[0].Rights = []Right{{"a", Saw(false)}} }, nil},
		{"Neutron tells not even its extensions", func(f *Facts) { f.Neutron.Extended = Unseen[bool]("503") }, []string{"Neutron: 503"}},
		{"Neutron tells its extensions and nothing else", func(f *Facts) {
			f.Neutron.MayWrite, f.Neutron.Agents = Unseen[bool]("500"), Unseen[[]Agent]("500")
			f.Neutron.Ports = map[string]Seen[[]Port]{here: Unseen[[]Port]("500")}
		}, []string{"Neutron: 500"}},
		{"Neutron answers all but the probe", func(f *Facts) { f.Neutron.MayWrite = Unseen[bool]("500") }, nil},
	} {
		f := fit()
		c.change(&f)
		if unread := f.Unread(); !slices.Equal(unread, c.want) {
			t.Errorf("%s: %q, want %q", c.name, unread, c.want)
		}
	}
}
