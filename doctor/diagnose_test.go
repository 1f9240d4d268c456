package doctor

import (
	"strings"
	"testing"

	"github.com/earlybind/earlybind/port"
	"github.com/earlybind/earlybind/rollback"
)

const (
	instance = "67322275-37eb-4301-9b66-d8d416b4cca1"
	here     = "compute1" // where the guest is
	there    = "compute2"
	third    = "compute3"
)

// runsHere is what Nova says of a guest that runs and has nothing under way.
func runsHere() *Server {
	return &Server{ID: instance, Host: here, Status: "ACTIVE", VMState: "active", PowerState: powerRunning}
}

func activeRow(host string) port.Row {
	return port.Row{Host: host, Active: true, VIFType: "ovs", VNICType: "normal", Profile: map[string]any{"os_vif_delegation": true}}
}

func inactiveRow(host string) port.Row {
	r := activeRow(host)
	r.Active = false
	return r
}

func announcing(r port.Row, to string) port.Row {
	r.Profile = map[string]any{port.MigratingTo: to}
	return r
}

func with(r port.Row, vifType string) port.Row {
	r.VIFType = vifType
	return r
}

func portOf(rows ...port.Row) port.Port {
	return port.Port{ID: "p", Device: instance, DeviceOwner: "compute:nova", Status: "ACTIVE", Rows: rows}
}

func TestDiagnose(t *testing.T) {
	right := portOf(activeRow(here))
	wrongWay := portOf(with(inactiveRow(here), "unbound"), activeRow(there))
	stale := portOf(activeRow(here), inactiveRow(there))
	down := portOf(activeRow(here))
	down.Status = "DOWN"
	router := right
	router.DeviceOwner = "network:router_interface"
	sub := portOf(activeRow(there))
	sub.DeviceOwner = "trunk:subport"
	nova := func(change func(*Server)) *Server {
		s := runsHere()
		change(s)
		return s
	}
	seen := func(on ...string) Sighting {
		return Sighting{On: on, Running: on, Asked: true, Answered: []string{here, there, third}}
	}
	paused := func(s Sighting) Sighting { s.Running = nil; return s }
	silent := func(s Sighting) Sighting { s.Answered = []string{here}; return s }
	kept := func(s *Server) { s.Status, s.VMState, s.PowerState = "SOFT_DELETED", softDeleted, 4 }
	moved := func(status string) *Migration {
		return &Migration{UUID: "m", Type: "live-migration", Status: status, Source: here, Dest: there}
	}
	for _, c := range []struct {
		name  string
		facts Facts
		want  Verdict
		why   string // a part of it
	}{
		{"right", Facts{Port: right, Server: runsHere()}, Right, ""},
		{"right, and its guest is seen", Facts{Port: right, Server: runsHere(), Sighting: seen(here)}, Right, ""},
		{"a router's", Facts{Port: router}, NotOurs, "network:router_interface"},
		{"a subport with its parent", Facts{Port: sub, Parent: there}, Right, ""},
		{"a subport that stayed behind", Facts{Port: sub, Parent: here}, Subport, "its parent is on " + here},
		{"an instance that Nova does not know", Facts{Port: wrongWay}, Orphan, instance},
		{"the same, and a cell is down", Facts{Port: wrongWay, Gap: "cell down"}, Disputed, "cell down"},
		{"its cell is down", Facts{Port: wrongWay, Server: &Server{ID: instance, Status: "UNKNOWN"}}, Disputed, "cell is down"},
		{"a live migration runs", Facts{Port: stale, Server: runsHere(), Unfinished: []Migration{{UUID: "m", Type: "live-migration", Status: "running"}}}, InFlight, "running"},
		{"an evacuation is not finished", Facts{Port: wrongWay, Server: runsHere(), Unfinished: []Migration{{Type: "evacuation", Status: "accepted"}}}, InFlight, "evacuation"},
		{"a task", Facts{Port: wrongWay, Server: nova(func(s *Server) { s.TaskState = "migrating" })}, InFlight, "migrating"},
		{"a resize waits", Facts{Port: stale, Server: nova(func(s *Server) { s.VMState = "resized" })}, InFlight, "resize"},
		{"soft-deleted, and its rows are right", Facts{Port: right, Server: nova(kept)}, InFlight, "soft-deleted"},
		{"soft-deleted, and a row is stale", Facts{Port: stale, Server: nova(kept)}, InFlight, "restores or reclaims"},
		{"soft-deleted on no host", Facts{Port: stale, Server: nova(func(s *Server) { kept(s); s.Host = "" })}, InFlight, "soft-deleted"},
		{"its guest is coming in", Facts{Port: stale, Server: runsHere(), Sighting: Sighting{On: []string{here}, Incoming: []string{there}, Asked: true}}, InFlight, there},
		{"shelved", Facts{Port: portOf(), Server: nova(func(s *Server) { s.Host, s.Status = "", "SHELVED_OFFLOADED" })}, NotOurs, "SHELVED_OFFLOADED"},
		{"Nova has it in ERROR, and nobody sees it", Facts{Port: wrongWay, Server: nova(func(s *Server) { s.VMState = "error" })}, Disputed, "ERROR"},
		{"Nova has it in ERROR, and it is seen where Nova has it", Facts{Port: wrongWay, Server: nova(func(s *Server) { s.VMState = "error" }), Sighting: seen(here)}, WrongWay, ""},
		{"in ERROR, seen where Nova has it, and the other row's host is silent", Facts{Port: wrongWay, Server: nova(func(s *Server) { s.VMState = "error" }), Sighting: silent(seen(here))}, Disputed, "no publisher has answered on " + there},
		{"active, and seen paused: a post-copy has failed", Facts{Port: wrongWay, Server: nova(func(s *Server) { s.PowerState = 3 }), Sighting: paused(seen(here))}, Disputed, "paused on " + here},
		{"paused by its user, and seen so", Facts{Port: wrongWay, Server: nova(func(s *Server) { s.VMState, s.PowerState = "paused", 3 }), Sighting: paused(seen(here))}, WrongWay, ""},
		{"it has moved, by the migration's word", Facts{Port: wrongWay, Server: runsHere(), Newest: moved("completed")}, Disputed, "is completed"},
		{"the same, and its row is left only", Facts{Port: stale, Server: runsHere(), Newest: moved("completed")}, Disputed, "is completed"},
		{"the same, and it is seen to run where Nova has it", Facts{Port: wrongWay, Server: runsHere(), Newest: moved("completed"), Sighting: seen(here)}, WrongWay, ""},
		{"nova-compute was started anew in a migration", Facts{Port: wrongWay, Server: runsHere(), Newest: moved("error")}, Disputed, "ended in error"},
		{"the same, announced only", Facts{Port: portOf(announcing(activeRow(here), there), inactiveRow(there)), Server: runsHere(), Newest: moved("error")}, Disputed, "ended in error"},
		{"refused with 409 for a stale row", Facts{Port: stale, Server: runsHere(), Newest: moved("error")}, Stale, ""},
		{"Nova has rolled back", Facts{Port: wrongWay, Server: runsHere(), Newest: moved("failed")}, WrongWay, ""},
		{"it has come here", Facts{Port: stale, Server: runsHere(), Newest: &Migration{Type: "live-migration", Status: "completed", Source: there, Dest: here}}, Stale, ""},
		{"a resize is reverted", Facts{Port: stale, Server: runsHere(), Newest: &Migration{Type: "resize", Status: "reverted", Source: here, Dest: there}}, Stale, ""},
		{"it is seen elsewhere", Facts{Port: right, Server: runsHere(), Sighting: seen(there)}, Disputed, "the guest is on " + there},
		{"it is seen on both", Facts{Port: wrongWay, Server: runsHere(), Sighting: seen(here, there)}, Disputed, there + " too"},
		{"its host does not see it", Facts{Port: wrongWay, Server: runsHere(), Sighting: seen()}, Disputed, "does not see"},
		{"Nova last saw it not running", Facts{Port: wrongWay, Server: nova(func(s *Server) { s.PowerState = 4 })}, Disputed, "power state 4"},
		{"stopped by its user", Facts{Port: stale, Server: nova(func(s *Server) { s.VMState, s.PowerState = "stopped", 4 }), Sighting: seen()}, Stale, there},

		{"two ACTIVE", Facts{Port: portOf(activeRow(here), activeRow(there)), Server: runsHere()}, Strange, "more than one"},
		{"no row here", Facts{Port: portOf(activeRow(there)), Server: runsHere()}, NoRow, "nobody knows"},
		{"no row at all", Facts{Port: portOf(), Server: runsHere()}, NoRow, "nobody knows"},
		{"no row here, but it was written down", Facts{Port: portOf(), Server: runsHere(), Held: &rollback.Held{VNICType: "normal"}}, Bricked, ""},
		{"wrong way round", Facts{Port: wrongWay, Server: runsHere()}, WrongWay, "the ACTIVE row on " + there},
		{"wrong way round, and a cell is down", Facts{Port: wrongWay, Server: runsHere(), Gap: "cell down"}, WrongWay, "not mended now: cell down"},
		{"left behind by a migration that went well", Facts{Port: portOf(inactiveRow(here), announcing(activeRow(there), here)), Server: runsHere()}, WrongWay, ""},
		{"the row elsewhere announces a third host", Facts{Port: portOf(inactiveRow(here), announcing(activeRow(there), third)), Server: runsHere()}, Strange, "no plan leads back"},
		{"bricked", Facts{Port: portOf(inactiveRow(here)), Server: runsHere()}, Bricked, ""},
		{"bricked, and a row is left", Facts{Port: portOf(inactiveRow(here), inactiveRow(there)), Server: runsHere()}, Bricked, ""},
		{"binding failed", Facts{Port: portOf(with(activeRow(here), "binding_failed")), Server: runsHere()}, BindingFailed, "agent"},
		{"half rolled back", Facts{Port: portOf(with(activeRow(here), "unbound")), Server: runsHere()}, Unbound, "unbound"},
		{"migrating_to left", Facts{Port: portOf(announcing(activeRow(here), there)), Server: runsHere()}, LeftMarked, "migrating_to " + there},
		{"migrating_to left, and a row that a migration will meet", Facts{Port: portOf(announcing(activeRow(here), third), inactiveRow(there)), Server: runsHere()}, LeftMarked, "refused with 409"},
		{"unbound, and a row that a migration will meet", Facts{Port: portOf(with(activeRow(here), "unbound"), inactiveRow(there)), Server: runsHere()}, Unbound, "refused with 409"},
		{"not bound, and a row that a migration will meet", Facts{Port: portOf(with(activeRow(here), "binding_failed"), inactiveRow(there)), Server: runsHere()}, BindingFailed, "refused with 409"},
		{"a mark left", Facts{Port: portOf(port.Row{Host: here, Active: true, VIFType: "ovs", VNICType: "normal", Profile: map[string]any{rollback.MadeHere: here}}), Server: runsHere()}, LeftMarked, "mark"},
		{"a stale row", Facts{Port: stale, Server: runsHere()}, Stale, "409"},
		{"down", Facts{Port: down, Server: runsHere()}, Down, "DOWN"},
		{"down, and the guest is shut off", Facts{Port: down, Server: nova(func(s *Server) { s.VMState, s.PowerState = "stopped", 4 })}, Right, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := Diagnose(c.facts)
			if got.Verdict != c.want || !strings.Contains(got.Why, c.why) {
				t.Errorf("%s because %q, want %s because %q", got.Verdict, got.Why, c.want, c.why)
			}
			if mends := c.want.Mends() && c.facts.Gap == ""; mends != (len(got.Plan) > 0) {
				t.Errorf("plan %+v of %s", got.Plan, got.Verdict)
			}
			if got.Verdict.Wrong() != (got.Verdict > InFlight) || got.Verdict.Wrong() && got.Why == "" {
				t.Errorf("%s without a reason", got.Verdict)
			}
		})
	}
}

func TestAPlanIsTheWholeWayBack(t *testing.T) {
	for _, c := range []struct {
		name string
		port port.Port
		want []string
	}{
		{"wrong way round", portOf(with(inactiveRow(here), "unbound"), activeRow(there)), []string{"activate compute1", "rebind compute1", "delete compute2"}},
		{"bricked", portOf(with(inactiveRow(here), "unbound")), []string{"write down compute1", "delete compute1", "create compute1", "rebind compute1"}},
		{"bricked, a row is left", portOf(with(inactiveRow(here), "unbound"), inactiveRow(there)), []string{"delete compute2", "create compute2", "activate compute1", "rebind compute1", "delete compute2"}},
		{"half rolled back, a row is left", portOf(with(activeRow(here), "unbound"), inactiveRow(there)), []string{"rebind compute1", "delete compute2"}},
		{"left behind", portOf(inactiveRow(here), announcing(activeRow(there), here)), []string{"activate compute1", "delete compute2"}},
		{"two rows are left", portOf(activeRow(here), inactiveRow(there), inactiveRow(third)), []string{"delete compute2", "delete compute3"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := Diagnose(Facts{Port: c.port, Server: runsHere()}).Plan
			var steps []string
			for _, s := range got {
				steps = append(steps, s.Action.String()+" "+s.Host)
			}
			if strings.Join(steps, ", ") != strings.Join(c.want, ", ") {
				t.Errorf("%q, want %q", steps, c.want)
			}
		})
	}
}

func TestGuestsTellWhereAnInstanceIs(t *testing.T) {
	g := Guests{
		here:  {{Instance: instance, State: "running"}, {Instance: "other", State: "shutoff"}},
		there: {{Instance: instance, State: "paused", Incoming: true}, {Instance: "other", State: "paused"}},
	}
	if s := g.Of(instance, here); !s.Asked || len(s.On) != 1 || s.On[0] != here || len(s.Incoming) != 1 || s.Incoming[0] != there {
		t.Errorf("%+v", s)
	}
	if s := g.Of("other", third); s.Asked || len(s.On) != 1 || s.On[0] != there {
		t.Errorf("%+v", s)
	}
	if s := Guests(nil).Of(instance, here); s.Asked || s.On != nil {
		t.Errorf("hosts that were not asked have said %+v", s)
	}
}
