package ovs

import (
	"encoding/json"
	"fmt"
	"slices"
)

// database is the name of Open vSwitch's own configuration database.
const database = "Open_vSwitch"

// Its tables that matter here (vswitch.ovsschema; ovs-vswitchd.conf.db(5)).
const (
	tableBridge    = "Bridge"
	tablePort      = "Port"
	tableInterface = "Interface"
)

// written are the columns that ovs-vswitchd writes and that the schema does not
// mark as ephemeral: they tell a state and are not put back. Ephemeral columns
// do the same.
var written = map[string][]string{
	tableInterface: {"ofport", "error", "cfm_flap_count"},
	tablePort:      {"bond_active_slave"},
}

// schema is what is needed of the database's schema. It is asked for at every
// connection: columns differ between the releases of Open vSwitch, and what this
// program has never heard of is saved and put back too.
type schema struct {
	// configuration columns by table, sorted.
	configuration map[string][]string
	// references are those of Port's that refer to other rows than its
	// interfaces.
	references []string
}

// readSchema reads the answer to get_schema (RFC 7047, section 3.2).
func readSchema(raw json.RawMessage) (schema, error) {
	var answer struct {
		Tables map[string]struct {
			Columns map[string]struct {
				Type      json.RawMessage `json:"type"`
				Ephemeral bool            `json:"ephemeral"`
			} `json:"columns"`
		} `json:"tables"`
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return schema{}, fmt.Errorf("schema: %w", err)
	}
	s := schema{configuration: map[string][]string{}}
	for _, table := range []string{tablePort, tableInterface} {
		for name, column := range answer.Tables[table].Columns {
			if column.Ephemeral || slices.Contains(written[table], name) {
				continue
			}
			s.configuration[table] = append(s.configuration[table], name)
			if table == tablePort && name != "interfaces" && refers(column.Type) {
				s.references = append(s.references, name)
			}
		}
		slices.Sort(s.configuration[table])
	}
	slices.Sort(s.references)
	for table, needed := range map[string][]string{
		tablePort:      {"name", "interfaces", "tag"},
		tableInterface: {"name", "type", "external_ids"},
	} {
		for _, column := range needed {
			if !slices.Contains(s.configuration[table], column) {
				return schema{}, fmt.Errorf("schema: no column %s in table %s", column, table)
			}
		}
	}
	return s, nil
}

// refers tells whether a column's type refers to rows (RFC 7047, section 3.2,
// <type>: refTable in its key or value).
func refers(raw json.RawMessage) bool {
	type base struct {
		RefTable string `json:"refTable"`
	}
	var t struct{ Key, Value json.RawMessage }
	if json.Unmarshal(raw, &t) != nil {
		return false // a plain type is a string
	}
	for _, part := range []json.RawMessage{t.Key, t.Value} {
		var b base
		if json.Unmarshal(part, &b) == nil && b.RefTable != "" {
			return true
		}
	}
	return false
}

// monitored are the columns to be monitored, by table.
func (s schema) monitored() map[string]map[string][]string {
	return map[string]map[string][]string{
		tableBridge:    {"columns": {"name", "ports"}},
		tablePort:      {"columns": s.configuration[tablePort]},
		tableInterface: {"columns": append([]string{"error", "ofport"}, s.configuration[tableInterface]...)},
	}
}
