package handover

import "github.com/earlybind/earlybind/wire"

// lowest and highest remember one place in a host's stream. Setting them is
// commutative and idempotent, which is what makes the order of arrival
// irrelevant.
type lowest struct {
	wire.Order
	known bool
}

func (m *lowest) set(o wire.Order) {
	if !m.known || o.Before(m.Order) {
		m.Order, m.known = o, true
	}
}

type highest struct {
	wire.Order
	known bool
}

func (m *highest) set(o wire.Order) {
	if !m.known || m.Before(o) {
		m.Order, m.known = o, true
	}
}
