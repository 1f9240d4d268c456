package handover

import (
	"maps"

	"github.com/earlybind/earlybind/wire"
)

// streams is how far each host's stream has come.
type streams struct {
	first map[string]wire.Order // as told at first: shared by many instances, and never written
	since map[string]wire.Order // news since
}

// of gives how far one host's has come, and whether it was heard of.
func (s streams) of(host string) (wire.Order, bool) {
	order, known := s.since[host]
	if !known {
		order, known = s.first[host]
	}
	return order, known
}

// precede tells whether a host's message is above all that was heard of it.
func (s streams) precede(host string, order wire.Order) bool {
	last, known := s.of(host)
	return !known || last.Before(order)
}

func (s *streams) set(host string, order wire.Order) { put(&s.since, host, order) }

// now is how they stand now, whatever comes.
func (s streams) now() streams { return streams{s.first, maps.Clone(s.since)} }

// put sets a key of a map, and makes the map for its first: very many handovers may be armed at
// once, for which nothing is decided yet.
func put[K comparable, V any](m *map[K]V, key K, value V) {
	if *m == nil {
		*m = map[K]V{}
	}
	(*m)[key] = value
}
