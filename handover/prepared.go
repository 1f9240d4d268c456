package handover

import "github.com/earlybind/earlybind/port"

// prepared tells whether Neutron agrees that a port migrates from source to
// destination; if not, why not.
func prepared(p port.Port, source, destination string) (bool, string) {
	active, ok := p.Active()
	switch {
	case !ok:
		return false, "the port has no ACTIVE row"
	case active.Host == destination:
		return false, "the destination's row is ACTIVE already"
	case active.Host != source:
		return false, "the ACTIVE row is on " + active.Host
	case active.MigratingTo() != "" && active.MigratingTo() != destination:
		return false, "the ACTIVE row migrates to " + active.MigratingTo()
	}
	row, ok := p.Row(destination)
	switch {
	case !ok:
		return false, "the destination has no row"
	case !row.Bound():
		return false, "the destination's row is not bound"
	}
	return true, ""
}
