package ovs

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
)

const (
	guest1 = "11111111-1111-4111-8111-111111111111"
	guest2 = "22222222-2222-4222-8222-222222222222"
	portA  = "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa"
	portB  = "bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb"
)

// someSchema has the columns that are looked at, one reference, one column that
// ovs-vswitchd writes, one that is ephemeral, and one that this program has never
// heard of.
const someSchema = `{"name": "Open_vSwitch", "version": "99.0.0", "tables": {
	"Bridge": {"columns": {"name": {"type": "string"}, "ports": {"type": {"key": {"type": "uuid", "refTable": "Port"}, "min": 0, "max": "unlimited"}}}},
	"Port": {"columns": {
		"name": {"type": "string"}, "interfaces": {"type": {"key": {"type": "uuid", "refTable": "Interface"}, "min": 1, "max": "unlimited"}},
		"tag": {"type": {"key": "integer", "min": 0, "max": 1}}, "trunks": {"type": {"key": "integer", "min": 0, "max": 4096}},
		"vlan_mode": {"type": {"key": "string", "min": 0, "max": 1}}, "fake_bridge": {"type": "boolean"},
		"qos": {"type": {"key": {"type": "uuid", "refTable": "QoS"}, "min": 0, "max": 1}},
		"other_config": {"type": {"key": "string", "value": "string", "min": 0, "max": "unlimited"}},
		"bond_active_slave": {"type": {"key": "string", "min": 0, "max": 1}},
		"statistics": {"type": {"key": "string", "value": "integer", "min": 0, "max": "unlimited"}, "ephemeral": true}}},
	"Interface": {"columns": {
		"name": {"type": "string"}, "type": {"type": "string"}, "mtu_request": {"type": {"key": "integer", "min": 0, "max": 1}},
		"external_ids": {"type": {"key": "string", "value": "string", "min": 0, "max": "unlimited"}},
		"ingress_policing_rate": {"type": "integer"}, "of_a_later_release": {"type": "integer"},
		"ofport": {"type": {"key": "integer", "min": 0, "max": 1}}, "error": {"type": {"key": "string", "min": 0, "max": 1}},
		"link_state": {"type": {"key": "string", "min": 0, "max": 1}, "ephemeral": true}}}}}`

// wired is a plain tap as Neutron's agent leaves it; change may alter its rows.
func wired(name, port, instance string, change ...func(iface, portRow row)) (iface, portRow row) {
	iface = row{
		"name": raw(name), "type": raw(""), "mtu_request": raw(1450), "ofport": raw(7), "error": raw(json.RawMessage(`["set",[]]`)),
		"external_ids":          mapOf("attached-mac", "fa:16:3e:00:00:01", "iface-id", port, "iface-status", "active", "vm-uuid", instance),
		"ingress_policing_rate": raw(1000), "of_a_later_release": raw(3),
	}
	portRow = row{
		"name": raw(name), "tag": raw(2), "trunks": raw(json.RawMessage(`["set",[]]`)), "vlan_mode": raw(json.RawMessage(`["set",[]]`)),
		"fake_bridge": raw(false), "qos": raw(json.RawMessage(`["set",[]]`)), "other_config": mapOf("net_uuid", "n"),
	}
	for _, f := range change {
		f(iface, portRow)
	}
	return iface, portRow
}

func raw(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

func mapOf(pairs ...string) json.RawMessage {
	list := [][2]string{}
	for p := range slices.Chunk(pairs, 2) {
		list = append(list, [2]string{p[0], p[1]})
	}
	return raw([]any{"map", list})
}

func uuidOf(id string) json.RawMessage { return raw([]string{"uuid", id}) }

// fakeDatabase holds rows as an ovsdb-server does, and is one: serve answers a
// connection. Rows that nothing refers to go.
type fakeDatabase struct {
	mu       sync.Mutex
	tables   map[string]map[string]row
	watchers map[net.Conn]*json.Encoder
	refuse   string // the error that transactions are answered with, once
	mute     bool   // nothing is answered
	comments []string
	made     int
}

func newFakeDatabase() *fakeDatabase {
	d := &fakeDatabase{tables: map[string]map[string]row{tableBridge: {}, tablePort: {}, tableInterface: {}}, watchers: map[net.Conn]*json.Encoder{}}
	d.tables[tableBridge]["br-1"] = row{"name": raw("br-int"), "ports": raw(json.RawMessage(`["set",[]]`))}
	return d
}

// contents gives what a monitor would have told by now.
func (d *fakeDatabase) contents(t *testing.T) *contents {
	t.Helper()
	s, err := readSchema(json.RawMessage(someSchema))
	if err != nil {
		t.Fatal(err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	c := newContents(s)
	c.apply(d.tables)
	return c
}

// add hangs an interface on a bridge.
func (d *fakeDatabase) add(bridge string, iface, portRow row) {
	d.change(func() { d.insert(bridge, iface, portRow) })
}

// remove takes a port off, as the agent does.
func (d *fakeDatabase) remove(name string) {
	d.change(func() {
		for id, r := range d.tables[tablePort] {
			if r.text("name") == name {
				d.drop(id)
			}
		}
	})
}

// update sets columns of the row of a name.
func (d *fakeDatabase) update(table, name string, columns row) {
	d.change(func() {
		for id, r := range d.tables[table] {
			if r.text("name") == name {
				r = maps.Clone(r)
				maps.Copy(r, columns)
				d.tables[table][id] = r
			}
		}
	})
}

// names lists the ports.
func (d *fakeDatabase) names() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []string
	for _, r := range d.tables[tablePort] {
		all = append(all, r.text("name"))
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func (d *fakeDatabase) row(table, name string) row {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range d.tables[table] {
		if r.text("name") == name {
			return r
		}
	}
	return nil
}

func (d *fakeDatabase) bridge(name string) (string, bool) {
	for id, r := range d.tables[tableBridge] {
		if r.text("name") == name {
			return id, true
		}
	}
	return "", false
}

func (d *fakeDatabase) insert(bridge string, iface, portRow row) (ifaceID, portID string) {
	d.made++
	ifaceID, portID = fmt.Sprintf("iface-%d", d.made), fmt.Sprintf("port-%d", d.made)
	iface, portRow = maps.Clone(iface), maps.Clone(portRow)
	portRow["interfaces"] = uuidOf(ifaceID)
	d.tables[tableInterface][ifaceID], d.tables[tablePort][portID] = iface, portRow
	id, _ := d.bridge(bridge)
	d.setPorts(id, append(d.tables[tableBridge][id].uuids("ports"), portID))
	return ifaceID, portID
}

func (d *fakeDatabase) drop(portID string) {
	for _, i := range d.tables[tablePort][portID].uuids("interfaces") {
		delete(d.tables[tableInterface], i)
	}
	delete(d.tables[tablePort], portID)
	for id, b := range d.tables[tableBridge] {
		d.setPorts(id, slices.DeleteFunc(b.uuids("ports"), func(p string) bool { return p == portID }))
	}
}

func (d *fakeDatabase) setPorts(bridge string, ports []string) {
	list := []any{}
	for _, p := range ports {
		list = append(list, []string{"uuid", p})
	}
	b := maps.Clone(d.tables[tableBridge][bridge])
	b["ports"] = raw([]any{"set", list})
	d.tables[tableBridge][bridge] = b
}

// change changes rows and tells the watchers, before anything else is said to
// them.
func (d *fakeDatabase) change(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	before := map[string]map[string]row{}
	for table, rows := range d.tables {
		before[table] = maps.Clone(rows)
	}
	f()
	tell := map[string]map[string]map[string]row{}
	note := func(table, id, key string, r row) {
		if tell[table] == nil {
			tell[table] = map[string]map[string]row{}
		}
		if tell[table][id] == nil {
			tell[table][id] = map[string]row{}
		}
		tell[table][id][key] = r
	}
	for table, rows := range d.tables {
		for id, r := range rows {
			if string(raw(before[table][id])) != string(raw(r)) {
				note(table, id, "new", r)
			}
		}
		for id, r := range before[table] {
			if _, ok := rows[id]; !ok {
				note(table, id, "old", r)
			}
		}
	}
	for _, out := range d.watchers {
		_ = out.Encode(map[string]any{"method": "update", "params": []any{nil, tell}, "id": nil})
	}
}

// serve answers one connection until it ends.
func (d *fakeDatabase) serve(conn net.Conn) {
	in, out := json.NewDecoder(conn), json.NewEncoder(conn)
	defer func() {
		d.mu.Lock()
		delete(d.watchers, conn)
		d.mu.Unlock()
		_ = conn.Close()
	}()
	for {
		var m struct {
			Method string
			Params []json.RawMessage
			ID     json.RawMessage
		}
		if in.Decode(&m) != nil {
			return
		}
		d.mu.Lock()
		mute := d.mute
		d.mu.Unlock()
		if mute {
			continue
		}
		var result any = []any{}
		switch m.Method {
		case "get_schema":
			result = json.RawMessage(someSchema)
		case "monitor":
			d.mu.Lock()
			all := map[string]map[string]map[string]row{}
			for table, rows := range d.tables {
				all[table] = map[string]map[string]row{}
				for id, r := range rows {
					all[table][id] = map[string]row{"new": r}
				}
			}
			d.watchers[conn] = out
			_ = out.Encode(map[string]any{"id": m.ID, "result": all, "error": nil})
			d.mu.Unlock()
			continue
		case "transact":
			d.change(func() { result = d.transact(m.Params[1:]) })
		}
		d.mu.Lock()
		_ = out.Encode(map[string]any{"id": m.ID, "result": result, "error": nil})
		d.mu.Unlock()
	}
}

// transact understands what this package sends.
func (d *fakeDatabase) transact(operations []json.RawMessage) any {
	if d.refuse != "" {
		refuse := d.refuse
		d.refuse = ""
		return []any{map[string]any{"error": refuse, "details": "for the test"}}
	}
	var iface, portRow row
	results := []any{}
	for _, one := range operations {
		var o struct {
			Op, Table, Comment string
			Where              [][]json.RawMessage
			Rows               []row
			Row                row
			Mutations          [][]json.RawMessage
		}
		if err := json.Unmarshal(one, &o); err != nil {
			panic(err)
		}
		var result any = map[string]any{}
		switch o.Op {
		case "wait":
			found := 0
			for _, r := range d.tables[o.Table] {
				if matches(r, o.Where[0]) {
					found++
				}
			}
			if found != len(o.Rows) {
				return append(results, map[string]any{"error": "timed out", "details": "\"wait\" timed out"})
			}
		case "insert":
			if o.Table == tableInterface {
				iface = o.Row
			} else {
				portRow = o.Row
				result = map[string]any{"uuid": []string{"uuid", fmt.Sprintf("port-%d", d.made+1)}}
			}
		case "mutate":
			if string(o.Mutations[0][1]) == `"insert"` {
				d.insert("br-int", iface, portRow)
			} else {
				d.drop(row{"ports": o.Mutations[0][2]}.uuids("ports")[0])
			}
		case "comment":
			d.comments = append(d.comments, o.Comment)
		}
		results = append(results, result)
	}
	return results
}

func matches(r row, condition []json.RawMessage) bool {
	var column, how string
	_ = json.Unmarshal(condition[0], &column)
	_ = json.Unmarshal(condition[1], &how)
	if how == "==" {
		return string(r[column]) == string(condition[2])
	}
	for key, value := range (row{"m": condition[2]}).texts("m") {
		if r.texts(column)[key] != value {
			return false
		}
	}
	return true
}

// logBuffer is a log that can be read while it is written.
type logBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func messages(list [][]byte) []json.RawMessage {
	var all []json.RawMessage
	for _, one := range list {
		all = append(all, one)
	}
	return all
}
