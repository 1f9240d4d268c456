package metrics

import (
	"context"
	"errors"
	"time"

	"github.com/earlybind/earlybind/binding"
)

// Actions on Neutron.
const (
	ActionPorts    = "list_ports"     // an instance's ports, and each one's rows
	ActionWrongOn  = "list_host"      // the ports of a host
	ActionRead     = "read_port"      // a port and its rows
	ActionActivate = "activate"       // its row on a host
	ActionProfile  = "update_profile" // of the port
	ActionRebind   = "rebind"         // the port, as it is
	ActionCreate   = "create"         // a row
	ActionDelete   = "delete"         // a row
)

var actions = []string{ActionPorts, ActionWrongOn, ActionRead, ActionActivate, ActionProfile, ActionRebind, ActionCreate, ActionDelete}

// Results of a request.
var results = []string{"ok", "already_active", "withheld", "4xx", "5xx", "no_answer", "abandoned", "other"}

// Request counts a request to Neutron that began then. It is to be called after the
// answer.
func (c *Consumer) Request(action string, began time.Time, err error) {
	if c == nil {
		return
	}
	result := result(err)
	c.answers.WithLabelValues(action, result).Inc()
	if result != "withheld" {
		c.requestTook.WithLabelValues(action).Observe(time.Since(began).Seconds())
	}
}

// result puts what came of a request into a class.
func result(err error) string {
	var e *binding.Error
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, binding.ErrAlreadyActive):
		return "already_active"
	case errors.Is(err, binding.ErrWithheld):
		return "withheld"
	case errors.Is(err, context.Canceled):
		return "abandoned"
	case !errors.As(err, &e):
		return "other"
	case errors.Is(e, binding.ErrNoAnswer):
		return "no_answer"
	case e.Status >= 400 && e.Status < 500:
		return "4xx"
	case e.Status >= 500:
		return "5xx"
	}
	return "other" // a 200 that lies, or a call that could not be made
}
