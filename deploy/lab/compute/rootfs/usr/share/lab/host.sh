# What a compute host and the probe host have in common: their addresses, what plugs ports in, and the L2 agent.
# Sourced; LAB_HOST is the host's name for Nova and Neutron, LAB_DRIVER is ovs, linuxbridge or ovn, LAB_NET_* are the three
# networks' first octets.

case $LAB_DRIVER in
ovs) agent=neutron-openvswitch-agent ;;
linuxbridge) agent=neutron-linuxbridge-agent ;;
ovn) agent=ovn-controller ;;
esac

# Interfaces are found by subnet: docker attaches several networks in no stable order. awk reads all: one that ends
# before ip has written its last line has it killed by SIGPIPE, and with pipefail the caller fails.
interface_in() { ip -o -4 addr show | awk -v net="$1." 'index($4, net) == 1 && !found++ { print $2 }'; }
address_in() { ip -o -4 addr show | awk -v net="$1." 'index($4, net) == 1 && !found++ { sub("/.*", "", $4); print $4 }'; }

# fill FILE NAME=VALUE...: writes the values of this host into a configuration file of the image.
fill() {
	local file=$1 pair
	shift
	for pair; do sed -i "s/@${pair%%=*}@/${pair#*=}/" "$file"; done
}

start_openvswitch() {
	mkdir -p /etc/openvswitch
	# Whoever may write to the database's socket is as good as root over the host's network: root, and a group for the
	# publisher that is to plug ports in again. A socket made in a setgid directory has its group, and is 0770 less umask.
	install -d -m 2755 -g 4747 /run/openvswitch
	# The directory is a volume and survives the container. Bridges, tunnels and taps are made again by what starts below.
	rm -f /run/openvswitch/* /etc/openvswitch/conf.db
	ovsdb-tool create /etc/openvswitch/conf.db /usr/share/openvswitch/vswitch.ovsschema
	umask 007
	daemon ovsdb-server /var/log/openvswitch/ovsdb-server.log \
		ovsdb-server /etc/openvswitch/conf.db --remote=punix:/run/openvswitch/db.sock --remote=db:Open_vSwitch,Open_vSwitch,manager_options
	umask 022
	wait_for ovsdb-server ovs-vsctl --no-wait init
	daemon ovs-vswitchd /var/log/openvswitch/ovs-vswitchd.log ovs-vswitchd unix:/run/openvswitch/db.sock
	ovs-vsctl add-br br-int -- set bridge br-int datapath_type=netdev
}

# Userspace tunnels need the tunnel's address on a bridge of Open vSwitch.
move_underlay_to_openvswitch() {
	local nic mac address
	nic=$(interface_in "$LAB_NET_UNDERLAY") address=$(address_in "$LAB_NET_UNDERLAY")
	mac=$(cat "/sys/class/net/$nic/address")
	ovs-vsctl add-br br-phy -- set bridge br-phy datapath_type=netdev "other-config:hwaddr=$mac" -- add-port br-phy "$nic"
	ip addr flush dev "$nic"
	ip addr add "$address/24" dev br-phy
	ip link set br-phy up
}

start_network() {
	local address
	address=$(address_in "$LAB_NET_UNDERLAY")
	mkdir -p /run/netns
	fill /etc/neutron/agent.ini "HOST=$LAB_HOST" "UNDERLAY_IP=$address" "PASSWORD=$(cat /usr/share/lab/password)"
	case $LAB_DRIVER in
	ovs)
		start_openvswitch
		move_underlay_to_openvswitch
		;;
	linuxbridge)
		# Nova and the agent switch IPv6 off on what they make, and docker mounts this read-only.
		mount -o remount,rw /proc/sys
		;;
	ovn)
		start_openvswitch
		move_underlay_to_openvswitch
		ovs-vsctl set Open_vSwitch . "external_ids:system-id=$LAB_HOST" "external_ids:hostname=$LAB_HOST" \
			external_ids:ovn-remote=tcp:controller:6642 external_ids:ovn-bridge-datapath-type=netdev \
			external_ids:ovn-encap-type=geneve "external_ids:ovn-encap-ip=$address"
		mkdir -p /run/ovn
		daemon $agent /var/log/ovn/$agent.log $agent unix:/run/openvswitch/db.sock
		return
		;;
	esac
	daemon $agent /var/log/neutron/$agent.log $agent --config-file /etc/neutron/agent.ini
}

# ask SERVICE-URL: GET as Nova's user, which may see agents and services. Gives up after 20 s: an API that does not answer
# while everything starts is asked again.
ask() {
	local token
	token=$(jq -n --arg pw "$(cat /usr/share/lab/password)" '{auth: {
		identity: {methods: ["password"], password: {user: {name: "nova", domain: {id: "default"}, password: $pw}}},
		scope: {project: {name: "service", domain: {id: "default"}}}}}' |
		curl -sf -m 10 -o /dev/null -D - -H 'Content-Type: application/json' -d @- http://controller:5000/v3/auth/tokens |
		sed -n 's/^x-subject-token: \([^\r]*\).*/\1/Ip')
	curl -sf -m 10 -H @<(printf 'X-Auth-Token: %s\n' "$token") "$1"
}

agent_is_alive() {
	local agents
	pgrep -f $agent >/dev/null || { echo "$agent does not run"; return 1; }
	agents=$(ask "http://controller:9696/v2.0/agents?binary=$agent&host=$LAB_HOST&fields=alive&fields=heartbeat_timestamp")
	echo "Neutron does not see the L2 agent of $LAB_HOST alive yet: ${agents:-no answer}"
	jq -e '.agents[0].alive' <<<"$agents" >/dev/null
}
