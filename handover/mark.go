package handover

import "github.com/earlybind/earlybind/wire"

// lowest and highest remember one place in a host's stream, and nothing while they are zero: a
// publisher's epoch is when it was started. Setting them is commutative and idempotent, which
// is what makes the order of arrival irrelevant.
type (
	lowest  struct{ wire.Order }
	highest struct{ wire.Order }
)

func (m lowest) known() bool  { return m.Order != wire.Order{} }
func (m highest) known() bool { return m.Order != wire.Order{} }

func (m *lowest) set(o wire.Order) {
	if !m.known() || o.Before(m.Order) {
		m.Order = o
	}
}

func (m *highest) set(o wire.Order) {
	if !m.known() || m.Before(o) {
		m.Order = o
	}
}
