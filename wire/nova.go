package wire

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// NovaStep is a step of a live migration that Nova announces.
type NovaStep int

// The steps. The comment names who sends it; the payload's host is the source
// in all of them but the last message of NovaPostDest.
const (
	NovaPre           NovaStep = iota + 1 // destination: preparing, the conductor has made the INACTIVE rows
	NovaPost                              // source: Nova takes over, activates next
	NovaPostDest                          // destination: finishing
	NovaRollback                          // source: the migration failed
	NovaRollbackDest                      // destination: the same, for disks that are not shared
	NovaAbort                             // source: an abort was asked for; not yet a failure
	NovaForceComplete                     // source: pauses the guest, or post-copy
	NovaPreFailed                         // destination: pre_live_migration raised
	NovaRefused                           // conductor: no migration takes place
)

var novaStepNames = map[NovaStep]string{
	NovaPre: "pre", NovaPost: "post", NovaPostDest: "post_dest", NovaRollback: "rollback",
	NovaRollbackDest: "rollback_dest", NovaAbort: "abort", NovaForceComplete: "force_complete",
	NovaPreFailed: "pre_failed", NovaRefused: "refused",
}

func (s NovaStep) String() string { return novaStepNames[s] }

// NovaEvent is what one notification of Nova says about a live migration.
type NovaEvent struct {
	Instance      string // UUID
	RequestID     string
	Step          NovaStep
	Ended         bool     // the step's .end; false for .start and for the two ERROR notifications
	PublisherHost string   // Nova's host of the sender; of the conductor for NovaRefused
	PayloadHost   string   // the instance's host as Nova has it; empty in the two ERROR notifications
	Ports         []string // of versioned notifications only
	Flavor        Flavor   // zero in the two ERROR notifications
}

// Flavor is the size of an instance, for figures; nothing is decided by it. Zero fields
// were not told.
type Flavor struct {
	Name     string
	MemoryMB int // MiB, as Nova counts in spite of the name
	VCPUs    int
}

// longestFlavor bounds a flavour's name, as Nova's own schema does
// (nova/db/api/models.py, Flavors.name; in runes).
const longestFlavor = 255

// novaSteps maps the event types without their .start/.end to steps. Legacy
// names: nova/compute/manager.py, _notify_about_instance_usage callers;
// versioned: nova/objects/fields.py, NotificationAction. Both were seen on the
// wire of Nova 26.2.2 (2022.2) and 31.0.0 (2025.1).
var novaSteps = map[string]NovaStep{
	"compute.instance.live_migration.pre":            NovaPre,
	"compute.instance.live_migration._post":          NovaPost,
	"compute.instance.live_migration.post.dest":      NovaPostDest,
	"compute.instance.live_migration._rollback":      NovaRollback,
	"compute.instance.live_migration.rollback.dest":  NovaRollbackDest,
	"compute.instance.live.migration.abort":          NovaAbort,
	"compute.instance.live.migration.force.complete": NovaForceComplete,
	"instance.live_migration_pre":                    NovaPre,
	"instance.live_migration_post":                   NovaPost,
	"instance.live_migration_post_dest":              NovaPostDest,
	"instance.live_migration_rollback":               NovaRollback,
	"instance.live_migration_rollback_dest":          NovaRollbackDest,
	"instance.live_migration_abort":                  NovaAbort,
	"instance.live_migration_force_complete":         NovaForceComplete,
	"pre_live_migration":                             NovaPreFailed,
	"compute_task.migrate_server":                    NovaRefused,
	"compute_task.migrate_server.error":              NovaRefused,
}

// ParseNova reads what a notification says about a live migration. It answers
// false for every other notification, without looking at its payload. An error
// means that the notification is of that kind but cannot be understood: park it.
func ParseNova(n Notification) (NovaEvent, bool, error) {
	step, ok, ended := novaStep(n.EventType)
	if !ok {
		return NovaEvent{}, false, nil
	}
	e := NovaEvent{Step: step, Ended: ended, RequestID: n.RequestID, PublisherHost: publisherHost(n.PublisherID)}
	var p novaPayload
	if err := json.Unmarshal(n.Payload, &p); err != nil {
		return NovaEvent{}, true, fmt.Errorf("payload of %s: %s", n.EventType, jsonFault(err))
	}
	data := p.novaData
	if p.Versioned != nil {
		data = *p.Versioned
	}
	e.Instance = cmp.Or(data.UUID, data.InstanceUUID, data.InstanceID, data.Args.Instance.UUID)
	e.PayloadHost = data.Host
	e.Flavor = data.flavor()
	for _, ip := range data.IPAddresses {
		if id := ip.Data.PortUUID; id != "" && !slices.Contains(e.Ports, id) {
			e.Ports = append(e.Ports, id)
		}
	}
	switch {
	case e.Instance == "":
		return NovaEvent{}, true, fmt.Errorf("payload of %s names no instance", n.EventType)
	case e.PublisherHost == "":
		return NovaEvent{}, true, fmt.Errorf("%s has no publisher_id", n.EventType)
	}
	return e, true, nil
}

// novaPayload serves both formats: the legacy payload is flat, the versioned
// one is nested in "nova_object.data".
type novaPayload struct {
	novaData
	Versioned *novaData `json:"nova_object.data"`
}

type novaData struct {
	UUID         string `json:"uuid"`          // versioned instance actions
	InstanceUUID string `json:"instance_uuid"` // versioned compute_task
	InstanceID   string `json:"instance_id"`   // legacy
	Host         string `json:"host"`
	// The legacy payload has the flavour's fields among the instance's
	// (nova/notifications/base.py, info_from_instance), the versioned one nests them
	// (nova/notifications/objects/flavor.py, FlavorPayload).
	InstanceType lenient[string]    `json:"instance_type"`
	MemoryMB     lenient[int]       `json:"memory_mb"`
	VCPUs        lenient[int]       `json:"vcpus"`
	Flavor       lenient[flavorObj] `json:"flavor"`
	IPAddresses  []struct {
		Data struct {
			PortUUID string `json:"port_uuid"`
		} `json:"nova_object.data"`
	} `json:"ip_addresses"`
	// The notification of a raised exception carries the call's arguments
	// (nova/exception_wrapper.py, _emit_legacy_exception_notification).
	Args struct {
		Instance struct {
			UUID string `json:"uuid"`
		} `json:"instance"`
	} `json:"args"`
}

type flavorObj struct {
	Data struct {
		Name     lenient[string] `json:"name"`
		MemoryMB lenient[int]    `json:"memory_mb"`
		VCPUs    lenient[int]    `json:"vcpus"`
	} `json:"nova_object.data"`
}

func (d novaData) flavor() Flavor {
	nested := d.Flavor.value.Data
	f := Flavor{Name: nested.Name.value, MemoryMB: nested.MemoryMB.value, VCPUs: nested.VCPUs.value}
	if f == (Flavor{}) {
		f = Flavor{Name: d.InstanceType.value, MemoryMB: d.MemoryMB.value, VCPUs: d.VCPUs.value}
	}
	if utf8.RuneCountInString(f.Name) > longestFlavor {
		f.Name = ""
	}
	f.MemoryMB, f.VCPUs = max(f.MemoryMB, 0), max(f.VCPUs, 0)
	return f
}

// lenient is a value that stays zero where it is not of its type: what nothing is
// decided by must not make a notification unreadable.
type lenient[T any] struct{ value T }

func (l *lenient[T]) UnmarshalJSON(raw []byte) error {
	var v T
	if json.Unmarshal(raw, &v) == nil {
		l.value = v
	}
	return nil
}

// publisherHost takes the host out of "compute.<host>" and
// "nova-compute:<host>"; a host may itself hold dots.
func publisherHost(id string) string {
	if _, host, ok := strings.Cut(id, ":"); ok {
		return host
	}
	if _, host, ok := strings.Cut(id, "."); ok {
		return host
	}
	return ""
}
