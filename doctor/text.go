package doctor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/earlybind/earlybind/rollback"
)

// Text is a report for people.
func (r Report) Text() string {
	var b strings.Builder
	for _, c := range r.Cases {
		fmt.Fprintf(&b, "port %s of instance %s", c.Port.ID, c.Port.Device)
		if s := c.Server; s != nil {
			fmt.Fprintf(&b, " (%s on %s)", s.Status, orNone(s.Host))
		}
		fmt.Fprintf(&b, "\n  %s: %s\n  %s\n", c.Verdict, c.Why, c.Port.Describe())
		for i, step := range c.Plan {
			label := "plan:"
			if i > 0 {
				label = "     "
			}
			fmt.Fprintf(&b, "  %s %s\n", label, request(c.Port.ID, step))
		}
		b.WriteString("\n")
	}
	b.WriteString(r.counts() + "\n")
	if r.Gap != "" {
		fmt.Fprintf(&b, "not all of the cloud has answered: %s\n", r.Gap)
	}
	if len(r.Silent) > 0 {
		fmt.Fprintf(&b, "asked where its guests are, and no publisher has answered: %s (there Nova's word counts)\n", strings.Join(r.Silent, ", "))
	}
	wrong := r.Wrong()
	if len(wrong) == 0 {
		b.WriteString("every port is right, or something is under way with its instance\n")
		return b.String()
	}
	mends := 0
	for _, c := range wrong {
		if len(c.Plan) > 0 {
			mends++
		}
	}
	if mends == 0 {
		fmt.Fprintf(&b, "%d not right, and none has a plan: docs/repair.md, and the command in its alarm (earlybind audit -instance UUID)\n", len(wrong))
		return b.String()
	}
	fmt.Fprintf(&b, "%d not right, of which %d have a plan: earlybind doctor -fix carries it out\n", len(wrong), mends)
	return b.String()
}

// counts says how many ports there are, and of what kind.
func (r Report) counts() string {
	wrong := len(r.Wrong())
	rest := fmt.Sprintf("%d with something under way, %d not right", len(r.Cases)-wrong, wrong)
	if r.leaving != "" {
		return fmt.Sprintf("%d hosts, %d ports of instances; of guests on %s: %s", len(r.Hosts), r.Ports, r.leaving, rest)
	}
	return fmt.Sprintf("%d hosts, %d ports of instances: %d right, %s", len(r.Hosts), r.Right+len(r.Cases), r.Right, rest)
}

// Leaving keeps the cases of guests on one host: what a migration away from there would
// meet. One whose host Nova cannot say now is kept where its port has a row there.
func (r Report) Leaving(host string) (Report, error) {
	if !slices.Contains(r.Hosts, host) {
		return Report{}, fmt.Errorf("Nova names no compute host %q%s", host, alike(r.Hosts, host))
	}
	r.leaving = host
	r.Cases = slices.DeleteFunc(slices.Clone(r.Cases), func(c Case) bool {
		if c.Server == nil || c.Server.Host == "" {
			_, there := c.Port.Row(host)
			return c.Verdict != Disputed || !there
		}
		return c.Server.Host != host
	})
	return r, nil
}

// alike names the hosts that differ from a name in case, or in what follows the first dot.
func alike(hosts []string, name string) string {
	short := func(host string) string {
		label, _, _ := strings.Cut(strings.ToLower(host), ".")
		return label
	}
	found := slices.DeleteFunc(slices.Clone(hosts), func(host string) bool { return short(host) != short(name) })
	if len(found) == 0 {
		return ""
	}
	return "; is it " + strings.Join(found, ", ") + "?"
}

func request(id string, s rollback.Step) string {
	if s.Action == rollback.WriteDown {
		return "write down what the row on " + s.Host + " holds"
	}
	return s.Request(id)
}

func orNone(host string) string {
	if host == "" {
		return "no host"
	}
	return host
}
