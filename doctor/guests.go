package doctor

import (
	"slices"

	"github.com/earlybind/earlybind/wire"
)

// Guests are the domains that each host's publisher lists, by host. A host that has not
// answered is missing.
type Guests map[string][]wire.DomainState

// answered tells whether all of these hosts have.
func (g Guests) answered(hosts []string) bool { return len(g.silent(hosts)) == 0 }

// silent are those of these hosts that have not answered.
func (g Guests) silent(hosts []string) []string {
	return slices.DeleteFunc(slices.Clone(hosts), func(host string) bool { _, has := g[host]; return has })
}

// Of gives where an instance's guest is seen; novaHost is where Nova has it. A domain
// that is shut off is on no host.
func (g Guests) Of(instance, novaHost string) Sighting {
	seen := Sighting{}
	_, seen.Asked = g[novaHost]
	for host, domains := range g {
		seen.Answered = append(seen.Answered, host)
		i := slices.IndexFunc(domains, func(d wire.DomainState) bool { return d.Instance == instance })
		switch {
		case i < 0:
		case domains[i].Incoming:
			seen.Incoming = append(seen.Incoming, host)
		case domains[i].State == "running" || domains[i].State == "paused" || domains[i].State == "pmsuspended":
			seen.On = append(seen.On, host)
			if domains[i].State == "running" {
				seen.Running = append(seen.Running, host)
			}
		}
	}
	slices.Sort(seen.Answered)
	slices.Sort(seen.On)
	slices.Sort(seen.Running)
	slices.Sort(seen.Incoming)
	return seen
}
