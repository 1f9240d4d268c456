package handover

import (
	"slices"
	"strings"

	"github.com/earlybind/earlybind/wire"
)

// streams is how far each host's stream has come.
type streams struct {
	first map[string]wire.Order // as told at first: shared by many instances, and never written
	// since is news since, sorted by host: of an instance that is only armed mostly one host's,
	// for which a map is ten times as large.
	since []reach
}

// reach is how far one host's has come.
type reach struct {
	host string
	wire.Order
}

// find gives the place of a host in since, or where it would be.
func (s streams) find(host string) (int, bool) {
	return slices.BinarySearchFunc(s.since, host, func(one reach, host string) int { return strings.Compare(one.host, host) })
}

// of gives how far one host's has come, and whether it was heard of.
func (s streams) of(host string) (wire.Order, bool) {
	if i, news := s.find(host); news {
		return s.since[i].Order, true
	}
	order, known := s.first[host]
	return order, known
}

// precede tells whether a host's message is above all that was heard of it.
func (s streams) precede(host string, order wire.Order) bool {
	last, known := s.of(host)
	return !known || last.Before(order)
}

func (s *streams) set(host string, order wire.Order) {
	i, news := s.find(host)
	if !news {
		s.since = slices.Insert(s.since, i, reach{host: host})
	}
	s.since[i].Order = order
}

// now is how they stand now, whatever comes.
func (s streams) now() streams { return streams{s.first, slices.Clone(s.since)} }

// put sets a key of a map, and makes the map for its first: very many handovers may be armed at
// once, for which nothing is decided yet.
func put[K comparable, V any](m *map[K]V, key K, value V) {
	if *m == nil {
		*m = map[K]V{}
	}
	(*m)[key] = value
}
