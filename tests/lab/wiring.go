package lab

import (
	"context"
	"strings"
	"time"
)

// Wiring is a report of ports' being up by a host's L2 agent.
type Wiring struct {
	At    time.Time // the agent has heard Neutron's answer
	Ports []string
}

// Wired reads what a host's L2 agent has reported from a time on.
func (l *Lab) Wired(ctx context.Context, host string, since time.Time) ([]Wiring, error) {
	text, err := l.Exec(ctx, host, "tail", "-n", "2000", "/var/log/neutron/neutron-openvswitch-agent.log")
	if err != nil {
		return nil, err
	}
	var found []Wiring
	for line := range strings.Lines(text) {
		if w, ok := parseWiring(line); ok && !w.At.Before(since) {
			found = append(found, w)
		}
	}
	return found, nil
}

// parseWiring reads the line that OVSNeutronAgent._bind_devices logs once Neutron has answered
// update_device_list (neutron/plugins/ml2/drivers/openvswitch/agent/ovs_neutron_agent.py, 2025.1;
// Zed's is the same):
//
//	2026-11-29 00:00:36.617 128 INFO neutron... Configuration for devices up ['ID', 'ID'] and devices down [] completed.
func parseWiring(line string) (Wiring, bool) {
	_, rest, ok := strings.Cut(line, "Configuration for devices up [")
	if !ok || len(line) < len(agentTime) {
		return Wiring{}, false
	}
	at, err := time.Parse(agentTime, line[:len(agentTime)])
	up, _, closed := strings.Cut(rest, "]")
	if err != nil || !closed || up == "" {
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
