package check

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// Whatever differs between deployment tools is told for each of them.
func TestRemediesAreTheSameForEveryTool(t *testing.T) {
	for name, remedies := range map[string][]Remedy{
		"notifications": sendNotifications(), "broker": rightBroker(), "queues": boundDefaultQueues("nova"),
		"life": longLife("nova", "earlybind"), "version": versionOfNeutron(), "libvirt": readLibvirt(), "client": openstackClient("role list"),
		"policy": policyOfNeutron("role:service", "activate"), "plugin": corePlugin(), "one name": oneName(), "Nova's name": novasName(),
		"clocks": clocksInStep(), "rights": keepOff("nova", "openstack", keptOff),
	} {
		var tools []string
		for _, r := range remedies {
			tools = append(tools, r.Tool)
		}
		if !slices.Equal(tools, Tools) {
			t.Errorf("%s: %q", name, tools)
		}
	}
	f := fit()
	f.Brokers[0].Exchanges["nova"] = Saw(false)
	for _, found := range For(Kolla, Judge(f)) {
		for _, r := range found.Do {
			if r.Tool != Kolla && r.Tool != AnyTool {
				t.Errorf("%s has a remedy of %s", found.ID, r.Tool)
			}
		}
	}
}

// A finding that a setting changes, and not one of earlybind's own, tells that of each tool.
func TestASettingIsToldForEachTool(t *testing.T) {
	account := func(roles ...string) func(*Facts) {
		return func(f *Facts) { f.Neutron.Account, f.Neutron.MayWrite = Saw(Account{"u", "p", roles}), Saw(false) }
	}
	made := func(change func(*Made)) func(*Facts) {
		return func(f *Facts) {
			m, _ := f.Brokers[0].Made.Get()
			change(&m)
			f.Brokers[0].Made = Saw(m)
		}
	}
	skewed := func(f *Facts) {
		a := f.Brokers[0].Answers[here]
		a.Skew = Saw(time.Hour)
		f.Brokers[0].Answers[here] = a
	}
	elsewhere := func(f *Facts) {
		f.Brokers[0].Answers[here], f.Brokers[0].Answers[there] = Answer{Host: here, Running: []string{other}}, Answer{Host: there, Running: []string{guest}}
	}
	for _, c := range []struct {
		id     string
		change func(*Facts)
		says   map[string]string // by tool
	}{
		{"neutron.binding-extended", func(f *Facts) { f.Neutron.Extended = Saw(false) }, map[string]string{
			Kolla: "/etc/kolla/config/neutron.conf", OSA: "neutron_neutron_conf_overrides", Helm: "core_plugin: ml2", Plain: "[DEFAULT] core_plugin = ml2"}},
		{"neutron.role", account("member"), map[string]string{
			Kolla: ". /etc/kolla/admin-openrc.sh; openstack role add --user u --project p service", OSA: ". /root/openrc; openstack role add", Helm: "OS_CLOUD=openstack_helm", Plain: "openstack role add"}},
		{"neutron.role", account("service"), map[string]string{
			Kolla: "/etc/kolla/config/neutron/policy.yaml", OSA: "neutron_policy_overrides:\n  \"create_port_binding\": \"role:service\"", Helm: "  policy:\n    \"create_port_binding\"", Plain: "/etc/neutron/policy.yaml"}},
		{"neutron.concurrent-activate", func(f *Facts) { f.Neutron.Safe = Saw(false) }, map[string]string{Kolla: "neutron_server", OSA: "venvs", Helm: "kubectl", Plain: "neutron-server --version"}},
		{"neutron.read", func(f *Facts) { f.Neutron.ReadsRows = Saw(false) }, map[string]string{
			Kolla: "/etc/kolla/config/neutron/policy.yaml", OSA: "neutron_policy_overrides", Helm: "\"get_port_binding\": \"role:admin or role:service\"", Plain: "/etc/neutron/policy.yaml"}},
		{"hosts.names", func(f *Facts) { f.Nova.Hosts = Saw([]ComputeHost{{"x", true}}) }, map[string]string{
			Kolla: "/etc/kolla/config/nova/HOST/nova.conf", OSA: "/etc/openstack_deploy/host_vars/HOST.yml", Helm: "use_fqdn", Plain: "host = NAME"}},
		{"publishers.host", elsewhere, map[string]string{Kolla: "EARLYBIND_HOST", OSA: "EARLYBIND_HOST", Helm: "hostname --fqdn", Plain: "[DEFAULT] host of that machine's nova.conf"}},
		{"clock", skewed, map[string]string{Kolla: "/etc/chrony/chrony.conf", OSA: "security_ntp_servers", Helm: "on the nodes", Plain: "chrony"}},
		{"rabbitmq.nova-user", made(func(m *Made) { m.Novas = Saw(Permissions{".*", ".*", ".*"}) }), map[string]string{
			Kolla: "/etc/kolla/config/rabbitmq/definitions.json", OSA: "mq_setup", Helm: "nova-rabbit-init", Plain: "rabbitmqctl set_permissions -p nova openstack"}},
	} {
		f := fit()
		c.change(&f)
		found := Judge(f)
		i := slices.IndexFunc(found, func(f Finding) bool { return f.ID == c.id && f.Level != Fit })
		if i < 0 {
			t.Errorf("no finding %s", c.id)
			continue
		}
		for _, tool := range Tools {
			if text := For(tool, found[i:i+1])[0].Do; !slices.ContainsFunc(text, func(r Remedy) bool { return r.Tool == tool && strings.Contains(r.Text, c.says[tool]) }) || c.says[tool] == "" {
				t.Errorf("%s, %s: %q is not in %+v", c.id, tool, c.says[tool], text)
			}
		}
	}
}

// A command is run as it stands: it names every host, and what a stranger calls itself is a word.
func TestTheCommandForRightsIsOne(t *testing.T) {
	command := func(f Facts, id string) string {
		t.Helper()
		for _, found := range Judge(f) {
			if found.ID == id {
				lines := strings.Split(found.Do[0].Text, "\n")
				return lines[len(lines)-1]
			}
		}
		t.Errorf("no finding %s", id)
		return ""
	}
	f := fit()
	var hosts []ComputeHost
	var names []string
	for i := range 12 {
		name := fmt.Sprintf("compute%02d.example", i)
		hosts, names = append(hosts, ComputeHost{name, true}), append(names, name)
	}
	f.Nova.Hosts, f.Neutron.Ports, f.Brokers[0].Answers = Saw(hosts), nil, nil
	if got, want := command(f, "publishers.missing"), "earlybind rights -hosts-only -vhost nova "+strings.Join(names, " "); got != want {
		t.Errorf("%s, want %s", got, want)
	}

	f = fit()
	f.Settings.HostUserPrefix = "compute-"
	f.Brokers = append(f.Brokers, f.Brokers[0])
	f.Brokers[1].Vhost, f.Brokers[1].Refused = "cell2", []Answer{{Host: "it's;reboot", Refused: "from nobody"}, {Host: here, Refused: "from nobody"}, {Host: "-prefix=", Refused: "from nobody"}, {Host: "a,b", Refused: "from nobody"}}
	if got, want := command(f, "publishers.identity"), `earlybind rights -hosts-only -vhost VHOST -prefix compute- compute1 'it'\''s;reboot'`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// Whoever follows README and whoever follows a finding set the same policy, with a priority: which of
// two of the same is in force, RabbitMQ does not say.
func TestTheBoundOfNovasQueuesIsREADMEs(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(boundDefaultQueues("VHOST"), func(r Remedy) bool { return r.Tool == Plain })
	if text := boundDefaultQueues("VHOST")[i].Text; !strings.Contains(strings.Join(strings.Fields(string(readme)), " "), text) {
		t.Errorf("README lacks %s", text)
	}
}
