//go:build integration

package ovs

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/earlybind/earlybind/wire"
)

// These tests need the programs of Debian's openvswitch-switch in PATH
// (ovsdb-tool, ovsdb-server, ovs-vsctl), and fail without:
//
//	EARLYBIND_TEST_OVS_SCHEMA  the file vswitch.ovsschema of the same package
//
// Each has a database of its own on a socket of its own. There is no
// ovs-vswitchd: the tests write what it and Neutron's agent would.

// patience is how long a real server may take for what takes milliseconds.
const patience = 30 * time.Second

// ovsdb is one real ovsdb-server.
type ovsdb struct {
	t      *testing.T
	dir    string
	server *exec.Cmd
}

func newOVSDB(t *testing.T) *ovsdb {
	t.Helper()
	schema := os.Getenv("EARLYBIND_TEST_OVS_SCHEMA")
	if schema == "" {
		t.Fatal("EARLYBIND_TEST_OVS_SCHEMA is not set")
	}
	o := &ovsdb{t: t, dir: t.TempDir()}
	o.run("ovsdb-tool", "create", o.path("conf.db"), schema)
	o.start()
	t.Cleanup(o.stop)
	o.vsctl("init")
	o.vsctl("add-br", "br-int")
	return o
}

func (o *ovsdb) path(name string) string { return filepath.Join(o.dir, name) }
func (o *ovsdb) address() string         { return "unix:" + o.path("db.sock") }

func (o *ovsdb) run(name string, args ...string) string {
	o.t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		o.t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func (o *ovsdb) start() {
	o.t.Helper()
	o.server = exec.Command("ovsdb-server", o.path("conf.db"), "--remote=p"+o.address(), "--unixctl="+o.path("ctl"), "--log-file=/dev/null")
	if err := o.server.Start(); err != nil {
		o.t.Fatal(err)
	}
	eventually(o.t, "ovsdb-server to listen", func() bool {
		conn, err := net.Dial("unix", o.path("db.sock"))
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
}

func (o *ovsdb) stop() {
	_ = o.server.Process.Kill()
	_ = o.server.Wait()
}

func (o *ovsdb) vsctl(args ...string) string {
	o.t.Helper()
	return o.run("ovs-vsctl", append([]string{"--db=" + o.address(), "--no-wait"}, args...)...)
}

// wire does what ovs-vswitchd and the agent do with a port that is new.
func (o *ovsdb) wire(name, tag string) {
	o.t.Helper()
	o.vsctl("set", "Interface", name, "ofport=7", "--", "set", "Port", name, "tag="+tag, "--", "clear", "Port", name, "vlan_mode", "trunks")
}

// plug hangs a tap on br-int as Nova's os-vif does, and wires it.
func (o *ovsdb) plug(name, port string) {
	o.t.Helper()
	o.vsctl("add-port", "br-int", name, "--", "set", "Interface", name, "external_ids:iface-id="+port,
		`external_ids:attached-mac="fa:16:3e:00:00:01"`, "external_ids:vm-uuid="+guest1, "external_ids:iface-status=active")
	o.wire(name, "2")
}

func (o *ovsdb) ports() string {
	o.t.Helper()
	return strings.Join(strings.Fields(o.vsctl("list-ports", "br-int")), " ")
}

// contents reads the database in a session of its own.
func (o *ovsdb) contents() *contents {
	o.t.Helper()
	conn, err := net.Dial("unix", o.path("db.sock"))
	if err != nil {
		o.t.Fatal(err)
	}
	defer conn.Close()
	c, err := newSession(conn).open()
	if err != nil {
		o.t.Fatal(err)
	}
	return c
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !condition(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited %s for %s", patience, what)
		}
	}
}

// replugger runs one until the test ends.
type replugger struct {
	*Replugger
	log *logBuffer
}

func (o *ovsdb) replugger() replugger {
	o.t.Helper()
	log := &logBuffer{}
	r := replugger{New(o.address(), o.path("replug.json"), nil, zerolog.New(log)), log}
	ctx, cancel := context.WithCancel(o.t.Context())
	var done sync.WaitGroup
	done.Go(func() { r.Run(ctx) })
	o.t.Cleanup(func() {
		cancel()
		done.Wait()
		if o.t.Failed() {
			o.t.Log(log.String())
		}
	})
	eventually(o.t, "the first contents", func() bool { return r.count("Open vSwitch database connected") == 1 })
	return r
}

func (r replugger) count(message string) int {
	return strings.Count(r.log.String(), `"message":"`+message+`"`)
}

// armed waits until the port can be announced, and has the guest stand still.
func (r replugger) armed(t *testing.T, ports ...string) {
	t.Helper()
	var got []string
	eventually(t, "the ports to be announced", func() bool {
		got = r.Heard(guest1, wire.Suspended, wire.Migrated)
		return slices.Equal(got, ports)
	})
}

// Every configuration column of the real schema is put back as it was, but those that
// keep the port apart, which the agent clears.
func TestOVSDBPutsWholeRowsBack(t *testing.T) {
	o := newOVSDB(t)
	o.plug("tapA", portA)
	o.vsctl("set", "Interface", "tapA", "mtu_request=1450", "ingress_policing_rate=3000", "ingress_policing_burst=300",
		"other_config:tx-steering=hash", "options:some=thing", "ofport_request=77", `mac="fa:16:3e:00:00:02"`, "lldp:enable=true", "bfd:enable=true",
		"--", "--id=@q", "create", "QoS", "type=linux-htb", "--", "set", "Port", "tapA", "qos=@q",
		"other_config:net_uuid=n", "other_config:tag=2", "external_ids:a=b", "protected=true", "vlan_mode=access")
	r := o.replugger()
	r.armed(t, portA)
	before, why := o.contents().save(portA)
	if why != "" {
		t.Fatal(why)
	}
	if n := len(before.ifaceRow) + len(before.portRow); n < 30 {
		t.Errorf("%d columns are saved", n)
	}

	o.vsctl("del-port", "tapA")
	time.Sleep(300 * time.Millisecond)
	if got := o.ports(); got != "" {
		t.Fatalf("plugged in while the guest stands still: %q", got)
	}
	began := time.Now()
	r.Heard(guest1, wire.Resumed, wire.Unpaused)
	eventually(t, "the port to come back", func() bool { return o.ports() == "tapA" })
	t.Logf("back after %s", time.Since(began).Round(time.Millisecond))
	if apart := o.vsctl("get", "Port", "tapA", "tag", "vlan_mode", "trunks"); apart != "4095\ntrunk\n[4095]" {
		t.Errorf("it is not kept apart: tag, vlan_mode and trunks are %q", apart)
	}

	o.wire("tapA", "5")
	eventually(t, "the line that says so", func() bool { return r.count("replug verified") == 1 })
	after, why := o.contents().save(portA)
	if why != "" {
		t.Fatal(why)
	}
	compare := func(table string, before, after row) {
		for column, value := range before {
			if column != "interfaces" && column != "tag" && column != "vlan_mode" && string(after[column]) != string(value) {
				t.Errorf("%s.%s was %s and is %s", table, column, value, after[column])
			}
		}
	}
	compare(tableInterface, before.ifaceRow, after.ifaceRow)
	compare(tablePort, before.portRow, after.portRow)
}

func TestOVSDBPutsBackAsOftenAsTaken(t *testing.T) {
	o := newOVSDB(t)
	o.plug("tapA", portA)
	o.plug("tapB", portB)
	r := o.replugger()
	r.armed(t, portA, portB)
	r.Heard(guest1, wire.Resumed, wire.Unpaused)
	for range 4 {
		o.vsctl("del-port", "tapA", "--", "del-port", "tapB")
		eventually(t, "both ports to come back", func() bool { return o.ports() == "tapA tapB" })
	}
	if n := r.count("port plugged in again"); n != 8 {
		t.Errorf("%d plugs", n)
	}
	r.Heard(guest1, wire.Stopped, "destroyed")
	o.vsctl("del-port", "tapA")
	time.Sleep(3 * time.Second)
	if got := o.ports(); got != "tapB" {
		t.Errorf("ports of a guest that has left: %q", got)
	}
}

func TestOVSDBServerStartsAnewMeanwhile(t *testing.T) {
	o := newOVSDB(t)
	o.plug("tapA", portA)
	o.plug("tapB", portB)
	r := o.replugger()
	r.armed(t, portA, portB)
	o.vsctl("del-port", "tapA")
	o.stop()
	eventually(t, "the loss to be seen", func() bool { return r.Heard(guest2, wire.Suspended, wire.Migrated) == nil && r.away() })
	r.Heard(guest1, wire.Resumed, wire.Unpaused)
	o.start()
	eventually(t, "the port to come back", func() bool { return o.ports() == "tapA tapB" })
	if n := r.count("port plugged in again"); n != 1 {
		t.Errorf("%d plugs", n)
	}
}

func (r replugger) away() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.contents == nil
}

func TestOVSDBQoSThatHasGoneIsLeftOut(t *testing.T) {
	o := newOVSDB(t)
	o.plug("tapA", portA)
	o.vsctl("--id=@q", "create", "QoS", "type=linux-htb", "--", "set", "Port", "tapA", "qos=@q")
	r := o.replugger()
	r.armed(t, portA)
	qos := o.vsctl("get", "Port", "tapA", "qos")
	o.vsctl("del-port", "tapA")
	o.vsctl("destroy", "QoS", qos)
	r.Heard(guest1, wire.Resumed, wire.Unpaused)
	eventually(t, "the port to come back", func() bool { return o.ports() == "tapA" })
	if qos = o.vsctl("get", "Port", "tapA", "qos"); qos != "[]" {
		t.Errorf("qos %s", qos)
	}
	if !strings.Contains(r.log.String(), errReferences.Error()) {
		t.Error("the first attempt was not refused")
	}
}

func TestOVSDBDeviceThatHasGoneIsTakenOut(t *testing.T) {
	o := newOVSDB(t)
	o.plug("tapA", portA)
	r := o.replugger()
	r.armed(t, portA)
	o.vsctl("del-port", "tapA")
	r.Heard(guest1, wire.Resumed, wire.Unpaused)
	eventually(t, "the port to come back", func() bool { return o.ports() == "tapA" })
	// What ovs-vswitchd writes where there is no such device.
	o.vsctl("set", "Interface", "tapA", "ofport=-1", `error="could not open network device tapA (No such device)"`)
	eventually(t, "the port to be taken out", func() bool { return o.ports() == "" })
	time.Sleep(time.Second)
	if n := r.count("replug gave up"); n != 1 || o.ports() != "" {
		t.Errorf("%d lines, ports %q", n, o.ports())
	}
	if left := o.vsctl("--columns=name", "list", "Interface"); strings.Contains(left, "tapA") {
		t.Errorf("interfaces left: %s", left)
	}
}

func TestOVSDBRefusesWhatIsThereAndWhatHasNoBridge(t *testing.T) {
	o := newOVSDB(t)
	o.plug("tapA", portA)
	s, why := o.contents().save(portA)
	if why != "" {
		t.Fatal(why)
	}
	try := func(s saved) (string, error) {
		t.Helper()
		conn, err := net.Dial("unix", o.path("db.sock"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		params := []any{database}
		for _, operation := range s.plug() {
			params = append(params, operation)
		}
		raw, err := newSession(conn).call("transact", params...)
		if err != nil {
			t.Fatal(err)
		}
		return readOutcome(raw, insertOfPort)
	}
	if _, err := try(s); !errors.Is(err, errTaken) {
		t.Errorf("it is there: %v", err)
	}
	o.vsctl("del-port", "tapA", "--", "add-port", "br-int", "other", "--", "set", "Interface", "other", "external_ids:iface-id="+portA)
	if _, err := try(s); !errors.Is(err, errTaken) {
		t.Errorf("another interface has the port: %v", err)
	}
	o.vsctl("del-port", "other", "--", "del-br", "br-int", "--", "add-br", "br-x")
	if _, err := try(s); !errors.Is(err, errTaken) {
		t.Errorf("the bridge has gone: %v", err)
	}
	s.bridge = "br-x"
	id, err := try(s)
	if got := o.vsctl("--columns=_uuid", "list", "Port", "tapA"); err != nil || !strings.Contains(got, id) {
		t.Errorf("got %s, %v; the port is %s", id, err, got)
	}
}

// The command that is offered to a person works, and harms nothing that is there.
func TestOVSDBMendingCommand(t *testing.T) {
	o := newOVSDB(t)
	o.plug("tapA", portA)
	s, _ := o.contents().save(portA)
	mend := func() {
		t.Helper()
		o.run("sh", "-c", strings.Replace(s.mend(), "ovs-vsctl", "ovs-vsctl --no-wait --db="+o.address(), 1))
	}
	mend()
	if tag := o.vsctl("get", "Port", "tapA", "tag", "vlan_mode"); tag != "2\n[]" {
		t.Errorf("a port that is there has got tag and vlan_mode %q", tag)
	}
	o.vsctl("del-port", "tapA")
	mend()
	o.wire("tapA", "2")
	again, why := o.contents().save(portA)
	if why != "" || string(again.ifaceRow["external_ids"]) != string(s.ifaceRow["external_ids"]) {
		t.Errorf("%s; external_ids %s", why, again.ifaceRow["external_ids"])
	}
}
