package check

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/earlybind/earlybind/handover"
	"github.com/earlybind/earlybind/port"
)

// keystone tells as whom earlybind is let in.
func keystone(f Facts) []Finding {
	account, ok := f.Neutron.Account.Get()
	if !ok {
		return one(Finding{ID: "keystone", Level: Unknown,
			Saw:   "Neutron could not be asked: " + f.Neutron.Account.Why(),
			Means: "nothing is known of its role, its extensions and its drivers",
			Do:    anywhere(cmp.Or(f.Neutron.Next, "does Keystone run at that URL, may this host reach it, and does it take that user?") + " (what it needs is set: docs/settings.md)"),
		})
	}
	return one(Finding{ID: "keystone", Level: Fit, Saw: "Keystone takes " + account.String()})
}

func (a Account) String() string {
	return fmt.Sprintf("user %s of project %s, with roles %s", a.User, a.Project, few(a.Roles))
}

func (a Account) has(role string) bool { return slices.Contains(a.Roles, role) }

// extended tells whether there is anything to activate.
func extended(f Facts) []Finding {
	if _, ok := f.Neutron.Account.Get(); !ok {
		return nil
	}
	const id = "neutron.binding-extended"
	switch has, ok := f.Neutron.Extended.Get(); {
	case !ok:
		return one(Finding{ID: id, Level: Unknown, Saw: "Neutron's extensions could not be listed: " + f.Neutron.Extended.Why()})
	case !has:
		return one(Finding{ID: id, Level: Blocker,
			Saw:   "this Neutron has no extension binding-extended",
			Means: "ports have one binding only: there is nothing to activate early, and the consumer does not start",
			Do:    corePlugin(),
		})
	}
	return one(Finding{ID: id, Level: Fit, Saw: "Neutron has extension binding-extended"})
}

// role tells whether the user may write rows. The POST of one for a port that does not exist
// says it from Neutron 23.0.0 (2023.2) on, and nothing before.
func role(f Facts) []Finding {
	account, ok := f.Neutron.Account.Get()
	if !ok {
		return nil
	}
	const id = "neutron.role"
	may, asked := f.Neutron.MayWrite.Get()
	safe, dated := f.Neutron.Safe.Get()
	command := func(verb, role string) []Remedy {
		return openstackClient(fmt.Sprintf("role %s --user %s --project %s %s", verb, word(account.User), word(account.Project), role))
	}
	const means = "a consumer that is to write does not start; one that only observes does"
	switch {
	case !asked:
		return one(Finding{ID: id, Level: Unknown, Saw: "whether the user may write port bindings could not be asked: " + f.Neutron.MayWrite.Why()})
	case !may && account.has("service"):
		return one(Finding{ID: id, Level: Blocker,
			Saw:   account.String() + " may not write port bindings (403), though it has the role service",
			Means: "a policy.yaml of Neutron takes it away, or this is 2023.2, which wants the role admin: " + means,
			Do: append(policyOfNeutron("role:service", "create_port_binding", "delete_port_binding", "activate", "update_port:binding:profile"),
				Remedy{AnyTool, fmt.Sprintf("on 2023.2: openstack role add --user %s --project %s admin", word(account.User), word(account.Project))}),
		})
	case !may && account.has("admin"):
		return one(Finding{ID: id, Level: Blocker,
			Saw:   account.String() + " may not write port bindings (403)",
			Means: "from 2024.1 on Neutron wants the role service for it, and admin is not enough: " + means,
			Do:    command("add", "service"),
		})
	case !may:
		return one(Finding{ID: id, Level: Blocker,
			Saw:   account.String() + " may not write port bindings (403)",
			Means: means + ", and sees no port",
			Do:    append(command("add", "service"), Remedy{AnyTool, "the role admin in its place on 2023.2, which does not know service here"}),
		})
	case dated && !safe && !account.has("admin"):
		return one(Finding{ID: id, Level: Blocker,
			Saw:   account.String() + " is no administrator, and this Neutron shows nothing of 2023.2 or later",
			Means: "before, only an administrator sees ports of others and their bindings: the consumer would find no port",
			Do:    command("add", "admin"),
		})
	case !dated && !account.has("admin"):
		return one(Finding{ID: id, Level: Unknown,
			Saw: "Neutron has not refused the user, which tells nothing before 2023.2, and how old it is could not be seen: " + f.Neutron.Safe.Why()})
	case account.has("admin") && account.has("service"):
		return one(Finding{ID: id, Level: Note,
			Saw:   account.String() + " may write port bindings",
			Means: "from 2024.1 on the role service alone is enough: who breaks into a consumer's host has admin too (docs/security.md)",
			Do:    command("remove", "admin"),
		})
	}
	return one(Finding{ID: id, Level: Fit, Saw: account.String() + " may write port bindings"})
}

// concurrentActivate tells whether Nova's activate and ours may meet.
func concurrentActivate(f Facts) []Finding {
	if _, ok := f.Neutron.Account.Get(); !ok {
		return nil
	}
	const id = "neutron.concurrent-activate"
	setting := f.Settings.NeutronConcurrentActivate
	safe, ok := f.Neutron.Safe.Get()
	shown := "Neutron is 23.0.0 (2023.2) or later"
	if !safe {
		shown = "Neutron shows nothing of 23.0.0 (2023.2) or later"
	}
	if !ok {
		shown = "Neutron's extensions could not be listed: " + f.Neutron.Safe.Why()
	}
	switch {
	case setting == "unsafe":
		return one(Finding{ID: id, Level: Blocker,
			Saw:   shown + "; EARLYBIND_NEUTRON_CONCURRENT_ACTIVATE=unsafe",
			Means: "earlybind only observes",
			Do:    anywhere("EARLYBIND_NEUTRON_CONCURRENT_ACTIVATE=detect"),
		})
	case ok && safe:
		return one(Finding{ID: id, Level: Fit, Saw: shown + ": of two activates at once the second is told 409, which Nova tolerates"})
	case setting == "safe":
		return one(Finding{ID: id, Level: Note,
			Saw:   shown + "; EARLYBIND_NEUTRON_CONCURRENT_ACTIVATE=safe",
			Means: "it is believed, and cannot be seen. Where it is not so, an activate of ours can put an instance of Nova into ERROR",
			Do:    versionOfNeutron(),
		})
	case !ok:
		return one(Finding{ID: id, Level: Unknown, Saw: shown})
	}
	return one(Finding{ID: id, Level: Blocker,
		Saw:   shown,
		Means: "two activates of one port at once can answer 500 to Nova and put the instance into ERROR (Launchpad 1986003): earlybind only observes",
		Do:    versionOfNeutron(),
	})
}

// reading tells whether the ports of others, and their rows, are shown.
func reading(f Facts) []Finding {
	if _, ok := f.Neutron.Account.Get(); !ok {
		return nil
	}
	const id = "neutron.read"
	switch read, ok := f.Neutron.ReadsRows.Get(); {
	case ok && read:
		return one(Finding{ID: id, Level: Fit, Saw: fmt.Sprintf("Neutron shows %s on %s, and their bindings", of(len(allPorts(f)), "port"), of(len(f.Neutron.Ports), "host"))})
	case ok:
		return one(Finding{ID: id, Level: Blocker,
			Saw:   "Neutron shows ports and not their bindings",
			Means: "no port can be judged: a policy.yaml of Neutron takes them from role service (admin before 2024.1)",
			Do:    policyOfNeutron("role:admin or role:service", "get_port_binding", "get_port:binding:host_id"),
		})
	}
	return one(Finding{ID: id, Level: Unknown, Saw: "whether Neutron shows the instances' ports was not seen: " + f.Neutron.ReadsRows.Why()})
}

// allPorts are the instances' ports with their ACTIVE row, of all hosts.
func allPorts(f Facts) []Port {
	var all []Port
	for _, host := range slices.Sorted(maps.Keys(f.Neutron.Ports)) {
		ports, _ := f.Neutron.Ports[host].Get()
		for _, p := range ports {
			if p.Active {
				all = append(all, p)
			}
		}
	}
	return all
}

// driverOf names the mechanism driver of an L2 agent, by Neutron's agent_type
// (neutron_lib/constants.py, AGENT_TYPE_*; neutron/plugins/ml2/drivers/ovn).
var driverOf = map[string]string{
	"Open vSwitch agent":           "openvswitch",
	"Linux bridge agent":           "linuxbridge",
	"OVN Controller agent":         "ovn",
	"OVN Controller Gateway agent": "ovn",
	"NIC Switch agent":             "sriovnicswitch",
	"Macvtap agent":                "macvtap",
}

// whyObserved tells why the ports of a driver are only observed (docs/settings.md).
var whyObserved = map[string]string{
	"ovn":            "the guest's own RARP moves the traffic there: no gain is expected",
	"sriovnicswitch": "nothing is to be gained on the source there",
	"macvtap":        "nothing is to be gained on the source there",
	"calico":         "Calico does not show its version: up to 3.31 it gains most, from 3.32 on nothing",
	"":               "the driver is shown by Neutron 20.0.0 (Yoga) and later, on ports that are bound",
}

// drivers tells which policy the ports get, by mechanism driver: under auto, and as
// earlybind is set now.
func drivers(f Facts) []Finding {
	if _, ok := f.Neutron.Account.Get(); !ok {
		return nil
	}
	found := map[string]*driverUse{}
	use := func(driver string) *driverUse {
		if found[driver] == nil {
			found[driver] = &driverUse{now: map[string]int{}}
		}
		return found[driver]
	}
	for _, p := range allPorts(f) {
		use(p.Driver).add(f, p)
	}
	shown, _ := f.Neutron.Agents.Get()
	for _, a := range shown {
		if driver := driverOf[a.Type]; driver != "" {
			use(driver).agents++
		}
	}
	if len(found) == 0 {
		return one(Finding{ID: "neutron.drivers", Level: Unknown,
			Saw:   "no instance's port and no agent was seen: which mechanism drivers there are is not known",
			Means: "look again when instances run",
		})
	}
	var all []Finding
	for _, driver := range slices.Sorted(maps.Keys(found)) {
		all = append(all, found[driver].finding(f, driver))
	}
	return all
}

// driverUse is what there is of one mechanism driver.
type driverUse struct {
	ports, trunks, agents int
	now                   map[string]int // ports by the policy that they get as earlybind is set
}

func (u *driverUse) add(f Facts, p Port) {
	u.ports++
	if p.Trunk {
		u.trunks++
	}
	u.now[policyOf(f, p, f.Settings.PolicyInForce()).String()]++
}

// policyOf gives the policy of a port if EARLYBIND_POLICY were such.
func policyOf(f Facts, p Port, policy handover.Policy) handover.Policy {
	s := handover.Settings{Policy: policy, Networks: f.Settings.PolicyNetworks, Drivers: f.Settings.PolicyDrivers}
	got, _ := handover.PolicyOf(s, port.Port{Network: p.Network, DeviceOwner: p.Owner, Driver: p.Driver, TrunkParent: p.Trunk})
	return got
}

func (u *driverUse) finding(f Facts, driver string) Finding {
	auto := policyOf(f, Port{Driver: driver, Owner: "compute:"}, handover.PolicyAuto)
	name := driver
	if driver == "" {
		name = "(not shown)"
	}
	saw := fmt.Sprintf("mechanism driver %s: %s", name, of(u.ports, "port"))
	if u.agents > 0 {
		saw += ", " + of(u.agents, "agent")
	}
	if u.trunks > 0 {
		saw += fmt.Sprintf(", %d of them trunk parents, which are always observed", u.trunks)
	}
	var now []string
	for _, policy := range slices.Sorted(maps.Keys(u.now)) {
		now = append(now, fmt.Sprintf("%d %s", u.now[policy], policy))
	}
	saw += "; EARLYBIND_POLICY=auto makes it " + auto.String()
	if len(now) > 0 {
		saw += fmt.Sprintf(", as set now (%s) they are: %s", f.Settings.PolicyInForce(), strings.Join(now, ", "))
		if by := held(f.Settings); by != "" && u.now[handover.PolicyObserve.String()] < u.ports {
			saw += ", held back further by " + by
		}
	}
	finding := Finding{ID: "neutron.driver." + strings.Trim(name, "()"), Level: Fit, Saw: saw}
	if auto == handover.PolicyObserve {
		why, known := whyObserved[driver]
		if !known {
			why = "it was never measured"
		}
		finding.Level, finding.Means = Note, "only observed: "+why
		finding.Do = anywhere("docs/settings.md, \"What auto does\"; who knows better sets EARLYBIND_POLICY_DRIVERS=" + name + "=resumed")
		if driver == "" {
			finding.Do = nil
		}
	}
	return finding
}

// liveAgents tells of agents that are dead: no port can be bound on their host.
func liveAgents(f Facts) []Finding {
	if _, ok := f.Neutron.Account.Get(); !ok {
		return nil
	}
	const id = "neutron.agents"
	shown, ok := f.Neutron.Agents.Get()
	var dead []string
	n := 0
	for _, a := range shown {
		if driverOf[a.Type] == "" {
			continue
		}
		if n++; !a.Alive {
			dead = append(dead, a.Host)
		}
	}
	slices.Sort(dead)
	switch {
	case !ok, n == 0:
		why := "Neutron shows none to this user (its rule get_agent is for administrators)"
		if !ok {
			why = f.Neutron.Agents.Why()
		}
		return one(Finding{ID: id, Level: Unknown, Saw: "whether the hosts' agents live was not seen: " + why,
			Means: "the consumer does not need to see them",
			Do:    anywhere("-nova-cloud with an administrator's entry of clouds.yaml shows them")})
	case len(dead) > 0:
		return one(Finding{ID: id, Level: Note, Hosts: dead,
			Saw:   fmt.Sprintf("%d of %s dead, on %s", len(dead), of(n, "agent"), few(dead)),
			Means: "no port can be bound, and so none restored, on a host whose agent is dead",
			Do:    anywhere("start the agent there"),
		})
	}
	return one(Finding{ID: id, Level: Fit, Saw: fmt.Sprintf("all of %s live", of(n, "agent"))})
}
