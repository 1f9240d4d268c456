package consumer

import (
	"errors"
	"fmt"
	"strings"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/handover"
	"github.com/earlybind/earlybind/wire"
)

// kindOf tells of what kind the fault of a message is.
func kindOf(err error) audit.Kind {
	switch {
	case errors.Is(err, errRefused):
		return audit.FaultIdentity
	case errors.Is(err, wire.ErrUnknownSchema):
		return audit.FaultSchema
	case errors.Is(err, wire.ErrNotNotification):
		return audit.FaultEnvelope
	case errors.Is(err, errWorn):
		return audit.FaultReturned
	default:
		return audit.FaultPayload
	}
}

// errRefused marks a host message without its host's own identity.
var errRefused = errors.New("refused")

// maxReason bounds what is said of a message, in bytes: it may quote what the sender wrote,
// and an AMQP header that does not fit into one frame ends the connection.
const maxReason = 1024

// reasonOf is what is said of a message's fault.
func reasonOf(err error) string {
	why := err.Error()
	if len(why) > maxReason {
		why = strings.ToValidUTF8(why[:maxReason], "") + "..."
	}
	return why
}

// delivered is what matters of one AMQP delivery.
type delivered struct {
	exchange string
	userID   string // validated by the broker; empty if the sender set none
	body     []byte
}

// muted is a host whose publisher speaks another version.
type muted struct{ host string }

// read turns a delivery into one of wire.NovaEvent, wire.HostEvent,
// wire.HostStates and tick, or nil for what is none of our business.
//
// An error that wraps errRefused or wire.ErrUnknownSchema speaks of a sender
// that is not believed; any other of a message that cannot be understood. Nothing
// else comes with an error, but muted with an unknown version.
func (s Settings) read(d delivered) (any, error) {
	if d.exchange == s.NovaExchange && wire.Glance(d.body) {
		return nil, nil
	}
	n, err := wire.Decode(d.body)
	if err != nil {
		return nil, err
	}
	if d.exchange == s.NovaExchange {
		event, relevant, err := wire.ParseNova(n)
		if err != nil || !relevant {
			return nil, err
		}
		return event, nil
	}
	switch {
	case n.EventType == wire.EventTick:
		if d.userID != s.AMQPUser {
			return nil, fmt.Errorf("%w: a tick came from user %q, not %q", errRefused, d.userID, s.AMQPUser)
		}
		tick, err := wire.ParseTick(n)
		if err != nil {
			return nil, err
		}
		return tick, nil
	case n.EventType == wire.EventStates:
		states, err := wire.ParseHostStates(n)
		if err != nil {
			return s.mutes(d, n, err), err
		}
		if err := s.identify(d, n, states.Host); err != nil {
			return nil, err
		}
		return states, nil
	case wire.IsHostMessage(n.EventType):
		event, err := wire.ParseHostEvent(n)
		if err != nil {
			return s.mutes(d, n, err), err
		}
		if err := s.identify(d, n, event.Host); err != nil {
			return nil, err
		}
		return event, nil
	}
	return nil, nil
}

// mutes gives the host that an unknown version came from, by its own identity; nil
// if that is not the fault.
func (s Settings) mutes(d delivered, n wire.Notification, err error) any {
	host, ours := strings.CutPrefix(d.userID, s.HostUserPrefix)
	if !errors.Is(err, wire.ErrUnknownSchema) || !ours || s.identify(d, n, host) != nil {
		return nil
	}
	return muted{host}
}

// identify checks that the host itself has sent the message: by the RabbitMQ
// user, which the broker has compared with the connection's, and by the
// publisher_id.
func (s Settings) identify(d delivered, n wire.Notification, host string) error {
	if want := s.HostUserPrefix + host; d.userID != want {
		return fmt.Errorf("%w: a message for host %q came from user %q, not %q", errRefused, host, d.userID, want)
	}
	if want := wire.PublisherID(host); n.PublisherID != want {
		return fmt.Errorf("%w: a message for host %q has publisher_id %q", errRefused, host, n.PublisherID)
	}
	return nil
}

// signOf says what a lifecycle event proves of the migration it may be part of;
// false if nothing.
//
// Which event comes in which outcome was recorded on libvirt 9.0.0 and 11.3.0.
// SUSPENDED/MIGRATED means "paused while an outgoing migration runs", no more;
// any RESUMED on the source after it means that the migration has failed.
func signOf(e wire.HostEvent) (handover.Sign, bool) {
	switch e.Event {
	case wire.Started:
		return handover.SignStarted, e.Detail == wire.Migrated
	case wire.Suspended:
		switch e.Detail {
		case wire.Migrated:
			return handover.SignPaused, true
		case wire.PostCopy:
			return handover.SignPostCopy, true
		case wire.PostCopyFailed:
			return handover.SignPostCopyFailed, true
		case wire.Paused:
			return handover.SignArrivedPaused, true
		default: // an I/O error, a watchdog
			return handover.SignHalted, true
		}
	case wire.Resumed:
		return handover.SignResumed, true
	case wire.Stopped:
		if e.Detail == wire.Migrated {
			return handover.SignLeft, true
		}
		return handover.SignStopped, true
	}
	return 0, false
}

// signOfState says what a listed domain's state proves. The reasons of post-copy are set
// together with its events (libvirt's qemuProcessHandleMigrationStatus and
// qemuMigrationSrcPostcopyFailed): they prove the same, and do not mean that the guest has arrived.
// That the source alone has them, and that an older libvirt's
// destination may have them too, is from reading libvirt: lists of them were not recorded.
func signOfState(d wire.DomainState) (handover.Sign, bool) {
	switch {
	case d.Incoming:
		return handover.SignStarted, true
	case d.State == "running":
		return handover.SignRunning, true
	case d.State == "paused" && d.Reason == "migration":
		return handover.SignPaused, true
	case d.State == "paused" && d.Reason == string(wire.PostCopy):
		return handover.SignPostCopy, true
	case d.State == "paused" && d.Reason == string(wire.PostCopyFailed):
		return handover.SignPostCopyFailed, true
	case d.State == "paused":
		return handover.SignArrivedPaused, true
	case d.State == "shutoff":
		return handover.SignAbsent, true
	}
	return 0, false
}
