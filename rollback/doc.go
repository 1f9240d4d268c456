// Package rollback brings a port back to ACTIVE and bound on the source after a
// live migration has failed.
//
// [Plan] is pure: from the rows found it gives the next step. [Restore] carries
// it out: read, plan, one step, read again, until the rows are right or the
// plan says hands off. Nothing is remembered between steps but what no API could
// tell any more, the contents of a row that is deleted to be made again: that
// is in a [Journal] first. So any replica can carry on where another was killed,
// and a step whose answer was lost is simply found done or undone by the next
// read.
//
// Why a plan at all: activate(source) alone answers 200 and leaves the port
// unbound, because activating the destination has unbound the source's row; and
// Nova's roll-back deletes the destination's row even when it is the ACTIVE
// one, after which activate(source) answers 500. Both seen on Neutron 21.0.0
// and 26.0.3; the code is activate_port_binding and delete_port_binding in
// neutron/plugins/ml2/plugin.py.
package rollback
