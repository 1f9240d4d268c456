package check

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// novaReleases are the newest microversions of Nova's releases, as its
// rest_api_version_history.rst has them (nova 00a0304); those before Stein are left out.
var novaReleases = []struct {
	minor int
	name  string
}{
	{72, "Stein"}, {79, "Train"}, {87, "Ussuri or Victoria"}, {88, "Wallaby"}, {90, "Xena or Yoga"}, {93, "Zed"},
	{95, "2023.1 or 2023.2"}, {96, "2024.1 or 2024.2"}, {100, "2025.1 or 2025.2"}, {103, "2026.1"},
}

const (
	// lastLate is the newest microversion of which every Nova cleans up storage first:
	// "Call Neutron immediately upon _post_live_migration() start" (nova 26fbc9e) is in
	// 29.0.0 (2024.1), and in 28.3.1 of 2023.2; in none of 2023.1.
	lastLate  = 93
	mixedLate = 95
)

// novaVersion tells what Nova's version means for the gain.
func novaVersion(f Facts) []Finding {
	const id = "nova.version"
	version, ok := f.Nova.Version.Get()
	minor, err := strconv.Atoi(strings.TrimPrefix(version, "2."))
	if !ok || err != nil {
		why := f.Nova.Version.Why()
		if ok {
			why = fmt.Sprintf("it says %q", version)
		}
		return one(Finding{ID: id, Level: Unknown, Saw: "Nova's version was not seen: " + why,
			Means: "earlybind works with any; the older it is, the larger the gain (before 28.3.1 Nova activates only after it has cleaned up storage)"})
	}
	finding := Finding{ID: id, Level: Fit, Saw: fmt.Sprintf("Nova's API goes up to %s: %s", version, novaRelease(minor))}
	switch {
	case minor <= lastLate:
		finding.Means = "Nova activates only after it has cleaned up volumes on the source: that, and its poll of 0.5 s, is what earlybind saves"
	case minor <= mixedLate:
		finding.Means = "2023.1, and 2023.2 before 28.3.1, activate only after they have cleaned up volumes on the source, which earlybind saves; from 28.3.1 on " +
			"its gain is Nova's poll of 0.5 s and two calls per port. The API does not tell which it is"
	default:
		finding.Means = "Nova activates as soon as it has noticed the end of the migration: earlybind's gain is its poll of 0.5 s, and two calls per port one after the other"
	}
	return one(finding)
}

func novaRelease(minor int) string {
	for i, r := range novaReleases {
		switch {
		case minor == r.minor:
			return r.name
		case minor < r.minor && i == 0:
			return "before " + r.name
		case minor < r.minor:
			return "on the way to " + r.name
		}
	}
	return "later than " + novaReleases[len(novaReleases)-1].name
}

// novaHosts tells which compute hosts there are.
func novaHosts(f Facts) []Finding {
	const id = "nova.hosts"
	hosts, ok := f.Nova.Hosts.Get()
	if !ok {
		return one(Finding{ID: id, Level: Unknown, Saw: "the compute hosts were not listed: " + f.Nova.Hosts.Why(),
			Means: "hosts that neither have a publisher nor an instance are not missed here",
			Do:    anywhere("-nova-cloud ENTRY of clouds.yaml, of a user that may list Nova's services (docs/doctor.md); the consumer does not need it"),
		})
	}
	var down []string
	for _, h := range hosts {
		if !h.Up {
			down = append(down, h.Name)
		}
	}
	slices.Sort(down)
	if len(down) > 0 {
		return one(Finding{ID: id, Level: Note, Hosts: down, Saw: fmt.Sprintf("nova-compute is down on %d of %s: %s", len(down), of(len(hosts), "host"), few(down)),
			Means: "Nova migrates nothing there"})
	}
	return one(Finding{ID: id, Level: Fit, Saw: "nova-compute is up on all of " + of(len(hosts), "host")})
}

// hostNames tells whether Nova and Neutron call the hosts by the same names.
func hostNames(f Facts) []Finding {
	hosts, ok := f.Nova.Hosts.Get()
	shown, ok2 := f.Neutron.Agents.Get()
	named := map[string]bool{}
	for _, a := range shown {
		named[a.Host] = named[a.Host] || driverOf[a.Type] != ""
	}
	if !ok || !ok2 || len(named) == 0 {
		return nil // nova.hosts or neutron.agents says so
	}
	var strange []string
	for _, h := range hosts {
		if !named[h.Name] {
			strange = append(strange, h.Name)
		}
	}
	slices.Sort(strange)
	if len(strange) == 0 {
		return one(Finding{ID: "hosts.names", Level: Fit, Saw: "Nova and Neutron's agents call the hosts by the same names"})
	}
	return one(Finding{ID: "hosts.names", Level: Note, Hosts: strange,
		Saw:   "no agent of Neutron is on the hosts that Nova calls " + few(strange),
		Means: "either there is none, or Nova and the agent have two names for the host: then Nova itself cannot bind ports there",
		Do:    oneName(),
	})
}
