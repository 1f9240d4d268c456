package doctor

import (
	"errors"

	"github.com/earlybind/earlybind/port"
	"github.com/earlybind/earlybind/rollback"
)

// ErrNoInstance marks Nova's answer that it does not know an instance.
var ErrNoInstance = errors.New("Nova does not know the instance")

// Server is what Nova says of an instance.
type Server struct {
	ID   string `json:"id"`
	Host string `json:"host"` // empty: it is on none (shelved, never scheduled)
	// Status is Nova's status, UNKNOWN where the instance's cell is down
	// (microversion 2.69).
	Status    string `json:"status"`
	VMState   string `json:"vm_state"`             // nova/objects/fields.py, InstanceState
	TaskState string `json:"task_state,omitempty"` // empty: nothing is under way
	// PowerState is what nova-compute last saw of the guest: 1 runs, 3 paused, 4 shut
	// down (nova/objects/fields.py, InstancePowerState).
	PowerState int `json:"power_state"`
}

// Migration is one of Nova's, of any type.
type Migration struct {
	UUID   string `json:"uuid"`
	Type   string `json:"type"` // live-migration, evacuation, resize ...
	Status string `json:"status"`
	Source string `json:"source"`
	Dest   string `json:"destination"`
}

// finished are the states of a migration that has come to its end, as Nova's own
// migration_get_in_progress_by_host_and_node has them (nova/db/main/api.py, 00a0304).
// "finished" is none: a resize that waits to be confirmed.
var finished = []string{"confirmed", "reverted", "error", "failed", "completed", "cancelled", "done"}

// Sighting is where the hosts' publishers see an instance's guest. The zero value is that of
// hosts that were not asked.
type Sighting struct {
	// On are the hosts that list it running or paused, Running those of them where it
	// runs, Incoming those where it is still coming in.
	On, Running, Incoming []string
	// Asked tells whether the publisher of the host where Nova has the instance has
	// answered, Answered the hosts whose publishers have.
	Asked    bool
	Answered []string
}

// Facts are what a diagnosis is made from.
type Facts struct {
	Port port.Port
	// Server is nil where Nova does not know the instance.
	Server *Server
	// Unfinished are the instance's migrations that have not come to their end, Newest is
	// its newest, ended or not; nil if it has none.
	Unfinished []Migration
	Newest     *Migration
	Sighting   Sighting
	// Gap says why what Nova says may not be all: a cell that is down. Empty if it is.
	Gap string
	// Parent is the host of the ACTIVE row of the parent of a trunk's subport, else
	// empty.
	Parent string
	// Held is what an earlier run has written down of the row on the guest's host, to make
	// it again; nil if nothing was.
	Held *rollback.Held
}
