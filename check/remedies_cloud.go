package check

import (
	"fmt"
	"strings"
)

// openstackClient is a command of OpenStack's client, given by an administrator: kolla-ansible ansible/post-deploy.yml,
// openstack-ansible doc/source/user/aio/quickstart.rst, openstack-helm tools/deployment/common/setup-client.sh.
func openstackClient(arguments string) []Remedy {
	return []Remedy{
		{Kolla, ". /etc/kolla/admin-openrc.sh; openstack " + arguments},
		{OSA, "in a utility container (lxc-attach): . /root/openrc; openstack " + arguments},
		{Helm, "OS_CLOUD=openstack_helm openstack " + arguments},
		{Plain, "openstack " + arguments},
	}
}

// policyOfNeutron gives some of Neutron's rules to whom it is a check of oslo.policy's: kolla-ansible
// ansible/roles/neutron/tasks/config.yml ("Copying over existing policy file"), os_neutron tasks/neutron_post_install.yml
// ("Implement policy.yaml file"), openstack-helm neutron/templates/configmap-etc.yaml and neutron/values.yaml (conf.policy). The
// rules' names are those of neutron/conf/policies/port_bindings.py and port.py.
func policyOfNeutron(whom string, rules ...string) []Remedy {
	lines := func(indent string) (text string) {
		for _, rule := range rules {
			text += fmt.Sprintf("\n%s%q: %q", indent, rule, whom)
		}
		return text
	}
	return []Remedy{
		{Kolla, "in /etc/kolla/config/neutron/policy.yaml, if it is there, then kolla-ansible reconfigure -i INVENTORY --tags neutron:" + lines("")},
		{OSA, "in /etc/openstack_deploy/user_variables.yml, then openstack-ansible openstack.osa.neutron --tags neutron-policy-override:\nneutron_policy_overrides:" + lines("  ")},
		{Helm, "in the values of chart neutron:\nconf:\n  policy:" + lines("    ")},
		{Plain, "in /etc/neutron/policy.yaml ([oslo_policy] policy_file of neutron.conf), if it is there:" + lines("")},
	}
}

// corePlugin makes ports have more than one binding: kolla-ansible ansible/roles/neutron/templates/neutron.conf.j2 and tasks/config.yml,
// os_neutron vars/main.yml (neutron_plugins), openstack-helm neutron/values.yaml.
func corePlugin() []Remedy {
	const other = "; another core plugin has no such bindings"
	return []Remedy{
		{Kolla, "core_plugin = ml2 is what it sets: look for another in /etc/kolla/config/neutron.conf" + other},
		{OSA, "core_plugin = ml2 is what it sets, with every neutron_plugin_type that it has: look for another in neutron_neutron_conf_overrides of " +
			"/etc/openstack_deploy/user_variables.yml" + other},
		{Helm, "in the values of chart neutron (it is the chart's default" + other + "):\nconf:\n  neutron:\n    DEFAULT:\n      core_plugin: ml2"},
		{Plain, "[DEFAULT] core_plugin = ml2 in neutron.conf" + other},
	}
}

// oneName has Nova and Neutron's agents call a host alike. kolla-ansible and openstack-ansible set no name, and the daemons take
// the machine's: kolla-ansible ansible/roles/nova-cell/templates/nova.conf.j2, neutron/templates/neutron.conf.j2, and the files that
// are merged into them in the roles' tasks/config.yml; openstack-ansible-os_nova and os_neutron, templates/*.conf.j2 and
// defaults/main.yml; openstack-ansible doc/source/reference/configuration/using-overrides.rst. openstack-helm sets one, by
// nova/templates/bin/_nova-compute-init.sh.tpl and neutron/templates/bin/_neutron-openvswitch-agent-init.sh.tpl.
func oneName() []Remedy {
	const section = "\n[DEFAULT]\nhost = NAME"
	return []Remedy{
		{Kolla, "it sets none, and both are the machine's own name (uname -n). If that has changed, the old one in /etc/kolla/config/nova/HOST/nova.conf and " +
			"/etc/kolla/config/neutron/HOST/neutron.conf, HOST as in the inventory, then kolla-ansible reconfigure -i INVENTORY --tags nova-cell,neutron:" + section},
		{OSA, "it sets none, and both are the machine's own name (uname -n). If that has changed, the old one in /etc/openstack_deploy/host_vars/HOST.yml, then " +
			"openstack-ansible openstack.osa.nova --tags nova-config, and openstack.osa.neutron --tags neutron-config:\n" +
			"nova_nova_conf_overrides: {DEFAULT: {host: NAME}}\nneutron_neutron_conf_overrides: {DEFAULT: {host: NAME}}"},
		{Helm, "the same in the values of charts nova and neutron (true, hostname --fqdn, is the default of both):\n" +
			"pod: {use_fqdn: {compute: true}}         # nova\npod: {use_fqdn: {neutron_agent: true}}   # neutron"},
		{Plain, "the same in nova.conf and in the agent's configuration (neutron.conf, or the file that its --config-file names last):" + section},
	}
}

// novasName is what a publisher has to call its host; the files are those of [oneName].
func novasName() []Remedy {
	const as = "as openstack compute service list shows it: "
	return []Remedy{
		{Kolla, "EARLYBIND_HOST " + as + "the machine's own name (uname -n), or host in /etc/kolla/config/nova/HOST/nova.conf"},
		{OSA, "EARLYBIND_HOST " + as + "the machine's own name (uname -n), or DEFAULT: host in nova_nova_conf_overrides"},
		{Helm, "EARLYBIND_HOST " + as + "hostname --fqdn of the node; hostname where chart nova has pod.use_fqdn.compute: false; or conf.nova.DEFAULT.host"},
		{Plain, "EARLYBIND_HOST " + as + "[DEFAULT] host of that machine's nova.conf, else its own name (uname -n)"},
	}
}

// clocksInStep: kolla-ansible only looks for an NTP client (ansible/roles/prechecks/tasks/timesync_checks.yml), openstack-ansible
// sets chrony up (hardening defaults/main.yml and tasks/rhel7stig/misc.yml, plugins playbooks/security_hardening.yml), openstack-helm
// has no chart for it.
func clocksInStep() []Remedy {
	const own = "chrony or another NTP client on these hosts, and on this machine, all with the same servers: pool or server in /etc/chrony/chrony.conf (Debian, Ubuntu) or " +
		"/etc/chrony.conf, then chronyc makestep"
	return []Remedy{
		{Kolla, "it sets none up, and kolla-ansible prechecks -i INVENTORY fails where none runs (prechecks_enable_host_ntp_checks): " + own},
		{OSA, "in /etc/openstack_deploy/user_variables.yml, then openstack-ansible openstack.osa.security_hardening (with apply_security_hardening and " +
			"security_rhel7_enable_chrony, both true by default), and chronyc makestep on these hosts:\nsecurity_ntp_servers: [NTP1, NTP2]"},
		{Helm, "it sets none up: " + own + ", on the nodes"},
		{Plain, own},
	}
}

// keepOff takes from Nova's user what it does not need. Each tool gives it all rights, again and again: kolla-ansible
// ansible/roles/rabbitmq/templates/definitions.json.j2, rabbitmq.conf.j2 and tasks/config.yml, plugins
// roles/mq_setup/tasks/rabbit_user_setup.yml, openstack-helm helm-toolkit/templates/scripts/_rabbit-init.sh.tpl and
// nova/templates/job-rabbit-init.yaml.
func keepOff(vhost, user, pattern string) []Remedy {
	all := rabbitmqctl(strings.Join([]string{"set_permissions -p", word(vhost), word(user), "'" + pattern + "'", "'" + pattern + "'", "'" + pattern + "'"}, " "))
	again := map[string]string{
		Kolla: "and so that it stays when RabbitMQ restarts, the same in permissions of /etc/kolla/config/rabbitmq/definitions.json, a copy of the role's " +
			"definitions.json.j2. kolla's user is an administrator of RabbitMQ, and can give itself what was taken: that keeps accidents off, not who has its password",
		OSA:  "and again after each openstack-ansible openstack.osa.nova: role mq_setup sets \".*\"",
		Helm: "and again after each helm upgrade of chart nova: its job nova-rabbit-init sets \".*\"",
	}
	for i := range all {
		if text := again[all[i].Tool]; text != "" {
			all[i].Text += "\n" + text
		}
	}
	return all
}
