package nova

import "fmt"

// Kind is what an answer of Neutron does to Nova.
type Kind string

// The kinds, with what becomes of the migration or the instance.
const (
	// Refused: bind_ports_to_host raises PortBindingFailed, and the migration to
	// that host does not begin. Nothing is lost by it; the scheduler tries
	// another host, or the user asks again.
	Refused Kind = "create refused"
	// NotActivated: migrate_instance_start raises PortBindingActivationFailed,
	// _post_live_migration is aborted and the instance, which has migrated
	// well, goes to ERROR (seen on Zed).
	NotActivated Kind = "activate failed"
	// Missing: a row that Nova looks for is not there. migrate_instance_start
	// then activates none of the ports that are left; setup_networks_on_host
	// does not find the port by its host and cleans up nothing of it.
	Missing Kind = "row missing"
	// NotUpdated: an update of the port is refused, which nobody catches: the
	// step is aborted.
	NotUpdated Kind = "update failed"
	// NotDeleted: PortBindingDeletionFailed, which is logged: the row stays.
	NotDeleted Kind = "delete failed"
)

// Harm is an answer that Nova cannot do with.
type Harm struct {
	Kind Kind
	Call Call
}

func (h Harm) Error() string { return fmt.Sprintf("%s: %s", h.Kind, h.Call) }

// Hurts tells whether something is lost by it.
func (h Harm) Hurts() bool { return h.Kind != Refused }
