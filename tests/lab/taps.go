package lab

import (
	"context"
	"encoding/csv"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/earlybind/earlybind/port"
)

// Tap is a port's tap on one host, as Open vSwitch's database and the kernel have it. What is
// not there is empty.
type Tap struct {
	Port    string `json:"port"`
	Plugged bool   `json:"plugged"` // Open vSwitch has a port of its name
	// Tag is the port's VLAN on br-int: 4095 is the dead one, and none is what the agent has not wired.
	Tag    string `json:"tag,omitempty"`
	Mode   string `json:"vlan_mode,omitempty"`
	Trunks string `json:"trunks,omitempty"`

	OFPort      string `json:"ofport,omitempty"`
	Error       string `json:"error,omitempty"` // Open vSwitch's, of the interface
	ExternalIDs string `json:"external_ids,omitempty"`

	Link      string `json:"link,omitempty"`       // the kernel's operstate
	ToGuest   string `json:"to_guest,omitempty"`   // frames, ever
	FromGuest string `json:"from_guest,omitempty"` // frames, ever
}

// readTaps writes a line for each tap that it is given: of the database's tables Port and
// Interface (ovs-vswitchd.conf.db(5)), and of the kernel. An ovs-vsctl that fails ends it.
const readTaps = `set -e
list() { ovs-vsctl --timeout=10 --if-exists -f csv -d bare --no-headings "$@"; }
p=$(list --columns=name,tag,vlan_mode,trunks list Port "$@")
i=$(list --columns=name,ofport,error,external_ids list Interface "$@")
echo "$p" | sed -n 's/^./port,&/p'
echo "$i" | sed -n 's/^./interface,&/p'
cd /sys/class/net
for t in "$@"; do
	if [ -e $t ]; then echo kernel,$t,$(cat $t/operstate $t/statistics/tx_packets $t/statistics/rx_packets | tr '\n' ,); fi
done`

// Taps reads the ports' taps on a host, one of each port, whether it is there or not.
func (l *Lab) Taps(ctx context.Context, host string, ports []port.Port) ([]Tap, error) {
	command := []string{"sh", "-c", readTaps, "taps"}
	for _, p := range ports {
		command = append(command, tapOf(p))
	}
	text, err := l.Exec(ctx, host, command...)
	if err != nil {
		return nil, fmt.Errorf("the taps on %s: %w", host, err)
	}
	return parseTaps(text, ports)
}

// AgentTimeouts counts the calls of a host's L2 agent that got no answer since then. Its loop stands still for each
// (neutron_lib/rpc.py), and what Neutron tells it meanwhile it does afterwards: a binding's deactivation too, and if the port
// has come back by then it is unplugged, also with Nova alone (run on 2025.1; process_deactivated_bindings in ovs_neutron_agent.py).
func (l *Lab) AgentTimeouts(ctx context.Context, host string, since time.Time) (int, error) {
	const count = `awk -v since="$1" '$0 >= since && /ERROR neutron_lib.rpc .*Timeout in RPC method/ { n++ } END { print n + 0 }' /var/log/neutron/neutron-*-agent.log`
	text, err := l.Exec(ctx, host, "sh", "-c", count, "timeouts", since.UTC().Format("2006-01-02 15:04:05"))
	if err != nil {
		return 0, fmt.Errorf("the agent's log on %s: %w", host, err)
	}
	return strconv.Atoi(strings.TrimSpace(text))
}

// AgentGoesRound fails where a host's L2 agent stands still, see [Lab.AgentTimeouts]: its log has had no line of a
// new round for 10 s (2025.1 has one every polling_interval). Where the log has none at all, nobody knows.
func (l *Lab) AgentGoesRound(ctx context.Context, host string) error {
	const age = `last=$(tail -n 2000 /var/log/neutron/neutron-*-agent.log | grep 'rpc_loop - iteration' | tail -n 1 | cut -c1-19)
if [ -n "$last" ]; then echo $(($(date +%s) - $(date -d "$last" +%s))); else echo 0; fi`
	text, err := l.Exec(ctx, host, "sh", "-c", age)
	if err != nil {
		return fmt.Errorf("the agent's log on %s: %w", host, err)
	}
	stood, err := strconv.Atoi(strings.TrimSpace(text))
	if err == nil && stood > 10 {
		err = fmt.Errorf("the agent on %s has stood still for %d s", host, stood)
	}
	return err
}

// tapOf is the name of a port's tap (nova/network/model.py, NIC_NAME_LEN).
func tapOf(p port.Port) string { return "tap" + p.ID[:min(11, len(p.ID))] }

func parseTaps(text string, ports []port.Port) ([]Tap, error) {
	taps := make([]Tap, len(ports))
	of := map[string]*Tap{}
	for i, p := range ports {
		taps[i].Port = p.ID
		of[tapOf(p)] = &taps[i]
	}
	in := csv.NewReader(strings.NewReader(text))
	in.FieldsPerRecord = -1
	lines, err := in.ReadAll()
	if err != nil {
		return nil, fmt.Errorf("the taps read %q: %w", text, err)
	}
	for _, line := range lines {
		if len(line) < 5 || of[line[1]] == nil {
			return nil, fmt.Errorf("the taps read %q", line)
		}
		switch t := of[line[1]]; line[0] {
		case "port":
			t.Plugged, t.Tag, t.Mode, t.Trunks = true, line[2], line[3], line[4]
		case "interface":
			t.OFPort, t.Error, t.ExternalIDs = line[2], line[3], line[4]
		case "kernel":
			t.Link, t.ToGuest, t.FromGuest = line[2], line[3], line[4]
		}
	}
	return taps, nil
}
