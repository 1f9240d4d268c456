package consumer

import (
	"slices"

	"github.com/earlybind/earlybind/port"
	"github.com/earlybind/earlybind/rollback"
)

// rightness says for the log whether a port's rows are right on host.
func rightness(p port.Port, host string) string {
	if right, why := settled(p, host); !right {
		return "rows wrong: " + why
	}
	return "rows right"
}

// inMigration tells whether a port stands as it does while its guest migrates from
// host: bound there, with a destination that is announced and has a row.
func inMigration(p port.Port, host string) bool {
	row, _ := p.Row(host)
	_, prepared := p.Row(row.MigratingTo())
	return row.Active && row.Bound() && row.MigratingTo() != "" && prepared
}

// settled tells whether a port is right on host and its row there holds what it
// is to hold.
func settled(p port.Port, host string) (bool, string) {
	if right, why := p.RightOn(host); !right {
		return false, why
	}
	if row, _ := p.Row(host); rollback.Made(row) {
		return false, "the row still carries the mark of a restore"
	}
	if row, ok := rollback.Forgotten(p); ok {
		return false, "a row that a restore has made is left on " + row.Host
	}
	return true, ""
}

// cutOff says why a port must be looked at until it is right, whatever becomes of this
// handover: its rows are those of a failed migration that was not repaired to its end;
// empty if they are not.
func cutOff(p port.Port) string {
	active, has := p.Active()
	switch {
	case slices.ContainsFunc(p.Rows, rollback.Made):
		return "it was found in the middle of a restore"
	case len(p.Rows) > 0 && !has:
		return "it was found without an ACTIVE row"
	case active.VIFType == port.VIFUnbound && active.Host != "":
		return "its ACTIVE row was found unbound"
	}
	return ""
}
