package lab

import (
	"context"
	"slices"
	"strings"
	"time"
)

// Wiring is a report of ports' being up by a host's L2 agent, or by OVN.
type Wiring struct {
	At    time.Time // openvswitch: the agent has heard Neutron's answer; linuxbridge, ovn: Neutron makes the port ACTIVE
	Ports []string
}

// Wired reads what a host's L2 agent has reported from a time on. The Linux bridge agent writes nothing when it has, nor
// does OVN: with these it is read from Neutron's logs, of all hosts. Neutron hears of a port from the host that it is bound to only.
func (l *Lab) Wired(ctx context.Context, drivers, host string, since time.Time) ([]Wiring, error) {
	service, logs := host, []string{"neutron-openvswitch-agent"}
	switch {
	case strings.HasPrefix(drivers, "linuxbridge"):
		service, logs = "controller", []string{"neutron-rpc-server"}
	case strings.HasPrefix(drivers, "ovn"):
		// Any of Neutron's processes that is connected to OVN's databases may be the one that sees to an event of theirs.
		service, logs = "controller", []string{"neutron-api", "neutron-rpc-server"}
	}
	tail := []string{"tail", "-q", "-n", "2000"}
	for _, log := range logs {
		tail = append(tail, "/var/log/neutron/"+log+".log")
	}
	text, err := l.Exec(ctx, service, tail...)
	if err != nil {
		return nil, err
	}
	var found []Wiring
	for line := range strings.Lines(text) {
		if w, ok := parseWiring(line); ok && !w.At.Before(since) {
			found = append(found, w)
		}
	}
	slices.SortStableFunc(found, func(a, b Wiring) int { return a.At.Compare(b.At) })
	return found, nil
}

// parseWiring reads the line that OVSNeutronAgent._bind_devices logs once Neutron has answered
// update_device_list (neutron/plugins/ml2/drivers/openvswitch/agent/ovs_neutron_agent.py, 2025.1;
// Zed's is the same), and the one of Neutron's that an agent has reported a port up
// (provisioning_complete, neutron/db/provisioning_blocks.py, Zed):
//
//	2026-11-29 00:00:36.617 128 INFO neutron... Configuration for devices up ['ID', 'ID'] and devices down [] completed.
//	2026-11-30 00:00:36.617 128 DEBUG neutron... Provisioning complete for port ID triggered by entity L2. ...
func parseWiring(line string) (Wiring, bool) {
	var up string
	var closed bool
	if _, rest, ok := strings.Cut(line, "Configuration for devices up ["); ok {
		up, _, closed = strings.Cut(rest, "]")
	} else if _, rest, ok := strings.Cut(line, "Provisioning complete for port "); ok {
		up, _, closed = strings.Cut(rest, " triggered by entity L2")
	}
	if !closed || up == "" || len(line) < len(agentTime) {
		return Wiring{}, false
	}
	at, err := time.Parse(agentTime, line[:len(agentTime)])
	if err != nil {
		return Wiring{}, false
	}
	w := Wiring{At: at}
	for id := range strings.SplitSeq(up, ", ") {
		w.Ports = append(w.Ports, strings.Trim(id, "'"))
	}
	return w, true
}

// agentTime is how the daemons of the lab write the time, in UTC.
const agentTime = "2006-01-02 15:04:05.000"
