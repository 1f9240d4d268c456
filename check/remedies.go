package check

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/earlybind/earlybind/wire"
)

// Where a setting lives was read in kolla-ansible 1a68181 (ansible/roles/nova, nova-cell,
// rabbitmq), openstack-ansible ff08037 and openstack-ansible-os_nova e06c7bc
// (defaults/main.yml, templates/nova.conf.j2), openstack-helm 0ee5ade (nova, libvirt and
// rabbitmq/values.yaml) and nova 00a0304 (nova/conf/notifications.py). None was run. The
// files that a remedy alone rests on stand with it; os_neutron is openstack-ansible-os_neutron fbbab47,
// plugins openstack-ansible-plugins 76b7f0d, hardening ansible-hardening 07c0a9d, neutron 2131d26.

// anywhere is a remedy that is the same in every cloud.
func anywhere(text string) []Remedy { return []Remedy{{AnyTool, text}} }

// rabbitmqctl is a command of RabbitMQ's, as it is given with each tool.
func rabbitmqctl(arguments string) []Remedy {
	return []Remedy{
		{Kolla, "on a controller: docker exec rabbitmq rabbitmqctl " + arguments},
		{OSA, "in a RabbitMQ container (lxc-attach), or on its host: rabbitmqctl " + arguments},
		{Helm, "kubectl -n openstack exec rabbitmq-rabbitmq-0 -- rabbitmqctl " + arguments},
		{Plain, "rabbitmqctl " + arguments},
	}
}

// printsRights is the command that prints how the users of these hosts' publishers are made: of all
// of them, since it is run as it stands, but for names that are none. Whoever may send messages
// chooses the name.
func printsRights(f Facts, hosts []string) string {
	command := "earlybind rights -hosts-only -vhost " + word(f.vhost())
	if prefix := f.Settings.HostUserPrefix; prefix != "earlybind-" {
		command += " -prefix " + word(prefix)
	}
	for _, host := range hosts {
		if wire.CheckHost(host) == nil && !strings.Contains(host, ",") && !strings.HasPrefix(host, "-") {
			command += " " + word(host)
		}
	}
	return command
}

// vhost is that of all cells; VHOST, if they differ: whose a host is, it is not known.
func (f Facts) vhost() string {
	for _, b := range f.Brokers[1:] {
		if b.Vhost != f.Brokers[0].Vhost {
			return "VHOST"
		}
	}
	return f.Brokers[0].Vhost
}

var plainWord = regexp.MustCompile(`^[\w./:@-]+$`)

// word is a name as a shell takes it: a host can be called anything by whoever may send messages.
func word(name string) string {
	if plainWord.MatchString(name) {
		return name
	}
	return "'" + strings.ReplaceAll(name, "'", `'\''`) + "'"
}

// sendNotifications has Nova send them.
func sendNotifications() []Remedy {
	const section = "[oslo_messaging_notifications]\ndriver = messagingv2"
	return []Remedy{
		// Topics that are set there take the place of kolla's own (merge_configs), which Designate's
		// sink may rest on: notifications_designate.
		{Kolla, "in /etc/kolla/config/nova.conf, then kolla-ansible reconfigure -i INVENTORY --tags nova,nova-cell " +
			"(no topics: they would replace kolla's own; where those lack \"notifications\", EARLYBIND_NOTIFICATION_TOPICS, docs/install.md):\n" + section},
		{OSA, "in /etc/openstack_deploy/user_variables.yml, then openstack-ansible openstack.osa.nova --tags nova-config " +
			"(it sets driver = messagingv2, topics = notifications):\nnova_oslomsg_notify_configure: true"},
		{Helm, "in the values of chart nova (it is the chart's default):\nconf:\n  nova:\n    oslo_messaging_notifications:\n      driver: messagingv2"},
		{Plain, "in nova.conf of compute hosts and conductors, then restart them (where topics are set, add \"notifications\" to them; it is the default):\n" + section},
	}
}

// rightBroker finds the broker and the vhost that Nova's notifications go to.
func rightBroker() []Remedy {
	return []Remedy{
		{Kolla, "notifications go to vhost / of the first RabbitMQ, or to nova_cell_notify_transport_url: EARLYBIND_AMQP_URLS=amqp://CONTROLLER:5672/"},
		{OSA, "notifications go to vhost nova (/nova without quorum queues): EARLYBIND_AMQP_URLS=amqps://RABBIT:5671/nova"},
		{Helm, "notifications go to vhost nova: EARLYBIND_AMQP_URLS=amqp://rabbitmq.openstack.svc:5672/nova"},
		{Plain, "the broker and the path of [oslo_messaging_notifications] transport_url of nova-compute, else of [DEFAULT] transport_url: " +
			"EARLYBIND_AMQP_URLS (docs/brokers.md); [DEFAULT] control_exchange: EARLYBIND_NOVA_EXCHANGE"},
	}
}

// boundDefaultQueues bounds the queues that Nova makes for its notifications and nobody reads. Of
// two policies of one priority RabbitMQ does not say which is in force.
func boundDefaultQueues(vhost string) []Remedy {
	set := fmt.Sprintf(`set_policy -p %s --priority 1 --apply-to queues nova-notifications '^(versioned_)?notifications\.' '{"message-ttl":600000,"max-length":10000}'`, vhost)
	all := rabbitmqctl(set)
	for i := range all {
		if all[i].Tool == Helm {
			all[i].Text += "\n(the chart's own policy of 70 s, conf.rabbitmq.policies, bounds them too)"
		}
	}
	return all
}

// longLife keeps a policy that gives messages or queues a short life off earlybind's queues:
// of a queue's policies the one of the highest priority is in force.
func longLife(vhost, queue string) []Remedy {
	pattern := "^earlybind"
	if queue != "earlybind" && !strings.HasPrefix(queue, "earlybind") {
		pattern = "^(earlybind|" + queue + ")"
	}
	const limit = `{"max-length-bytes":268435456}`
	all := rabbitmqctl(fmt.Sprintf("set_policy -p %s --priority 100 --apply-to queues earlybind '%s' '%s'", vhost, pattern, limit))
	for i := range all {
		if all[i].Tool == Helm {
			all[i].Text += "\nand so that it stays, in the values of chart nova, beside the policy ha_ttl_nova that is there:\n" +
				"conf:\n  rabbitmq:\n    policies:\n" +
				"      - {vhost: nova, name: ha_ttl_nova, priority: 0, apply-to: all, pattern: '^(?!(amq\\.|reply_)).*', definition: {message-ttl: 70000}}\n" +
				"      - {vhost: nova, name: earlybind, priority: 100, apply-to: queues, pattern: '" + pattern + "', definition: {max-length-bytes: 268435456}}"
		}
	}
	return all
}

// versionOfNeutron finds out which Neutron it is, and says so to earlybind.
func versionOfNeutron() []Remedy {
	const then = ": 23.0.0 (2023.2) and later are safe, as are 22.0.1, 21.1.1, 20.3.1 and 19.7.0, which do not show it; " +
		"with one of those, or a later one of its series, EARLYBIND_NEUTRON_CONCURRENT_ACTIVATE=safe. Else upgrade Neutron"
	return []Remedy{
		{Kolla, "docker exec neutron_server neutron-server --version" + then},
		{OSA, "/openstack/venvs/neutron-*/bin/neutron-server --version in a neutron_server container" + then},
		{Helm, "kubectl -n openstack exec deploy/neutron-server -- neutron-server --version" + then},
		{Plain, "neutron-server --version" + then},
	}
}

// readLibvirt lets a publisher read its host's libvirt.
func readLibvirt() []Remedy {
	const uri = "EARLYBIND_LIBVIRT_URI='qemu+unix:///system?mode=legacy&socket=/run/libvirt/libvirt-sock-ro'"
	const log = "the publisher's log says why (\"libvirt is away\"); "
	return []Remedy{
		{Kolla, log + uri + ", with /run/libvirt of the host mounted if the publisher is a container; if authentication fails, auth_unix_ro = \"none\" " +
			"in kolla's whole libvirtd.conf, which is another file before 2026.1 (docs/install.md)"},
		{OSA, log + "libvirtd runs on the host, and its read-only socket lets everybody read: " + uri},
		{Helm, log + uri + ", with hostPath /run/libvirt; in the values of chart libvirt:\nconf:\n  libvirt:\n    auth_unix_ro: \"none\""},
		{Plain, log + uri + "; if authentication fails, auth_unix_ro = \"none\" in libvirtd.conf"},
	}
}
