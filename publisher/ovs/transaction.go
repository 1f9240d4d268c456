package ovs

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
)

// operation is one of a transaction (RFC 7047, section 5.2).
type operation map[string]any

// none is an empty list of rows, which is not null.
var none = []any{}

// insertOfPort is the place of the Port's insert in plug's operations.
const insertOfPort = 4

// plug puts an interface back: all or nothing, and nothing if the bridge has gone
// or somebody else was first. A wait with timeout 0 answers "timed out" at once
// where it does not hold.
func (s saved) plug() []operation {
	iface, port := maps.Clone(s.ifaceRow), maps.Clone(s.portRow)
	port["interfaces"] = json.RawMessage(`["named-uuid","iface"]`)
	// The dead VLAN alone is no isolation: the ports in it reach each other, since the
	// agent's flow that drops it matches a VLAN tag and an access port's frames have none.
	// So it may pass only frames that are tagged with the dead VLAN, as Neutron
	// (neutron/agent/common/ovs_lib.py, _set_port_dead, Launchpad bug 1930414) and os-vif
	// (vif_plug_ovs/ovs.py, bug 2069543) have it; the agent clears all three when it wires the
	// port (ovs_neutron_agent.py, port_bound).
	dead := json.RawMessage(strconv.Itoa(deadVLAN))
	port["tag"], port["trunks"], port["vlan_mode"] = dead, dead, json.RawMessage(`"`+trunkMode+`"`)
	return []operation{
		wait(tableInterface, []any{"name", "==", s.name}, none),
		wait(tableInterface, []any{"external_ids", "includes", []any{"map", []any{[]any{"iface-id", s.port}}}}, none),
		wait(tableBridge, []any{"name", "==", s.bridge}, []any{map[string]any{"name": s.bridge}}),
		{"op": "insert", "table": tableInterface, "row": iface, "uuid-name": "iface"},
		{"op": "insert", "table": tablePort, "row": port, "uuid-name": "port"},
		mutatePorts(s.bridge, "insert", []any{"named-uuid", "port"}),
		comment("plug in " + s.name + " again: the live migration has failed"),
	}
}

// unplug takes out the Port row that an own plug has made, and nothing else. Its
// Interface goes with it: rows of both tables live as long as they are referred
// to.
func (s saved) unplug(portRow string) []operation {
	return []operation{
		mutatePorts(s.bridge, "delete", []any{"uuid", portRow}),
		comment("take out " + s.name + " again"),
	}
}

func wait(table string, where []any, rows []any) operation {
	return operation{"op": "wait", "table": table, "timeout": 0, "where": []any{where}, "columns": []string{"name"}, "until": "==", "rows": rows}
}

func mutatePorts(bridge, how string, port []any) operation {
	return operation{"op": "mutate", "table": tableBridge, "where": []any{[]any{"name", "==", bridge}},
		"mutations": []any{[]any{"ports", how, []any{"set", []any{port}}}}}
}

func comment(text string) operation {
	return operation{"op": "comment", "comment": "earlybind-publisher: " + text}
}

// Why a transaction was refused, where it matters.
var (
	// errTaken: a wait did not hold.
	errTaken = errors.New("the interface is there already, or its bridge is not")
	// errReferences: the port's row refers to a row that has gone.
	errReferences = errors.New("a row that the port referred to has gone")
)

// readOutcome reads the answer to a transaction: the row UUID of the insert at a
// place, if that is not negative, or why nothing was done.
func readOutcome(raw json.RawMessage, insert int) (id string, err error) {
	var results []*struct {
		UUID    json.RawMessage `json:"uuid"`
		Error   string          `json:"error"`
		Details string          `json:"details"`
	}
	if err := json.Unmarshal(raw, &results); err != nil {
		return "", fmt.Errorf("answer to a transaction: %w", err)
	}
	for _, r := range results {
		if r == nil || r.Error == "" {
			continue // null: not reached
		}
		switch r.Error {
		case "timed out":
			return "", errTaken
		case "referential integrity violation":
			return "", fmt.Errorf("%w: %s", errReferences, r.Details)
		}
		return "", fmt.Errorf("%s: %s", r.Error, r.Details)
	}
	if insert < 0 {
		return "", nil
	}
	if insert < len(results) && results[insert] != nil {
		if json.Unmarshal(tagged(results[insert].UUID, "uuid"), &id) == nil {
			return id, nil
		}
	}
	return "", errors.New("answer to a transaction: no row UUID")
}
