package rollback

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strings"
	"testing"

	"github.com/earlybind/earlybind/port"
)

const (
	src   = "src"
	dst   = "dst"
	third = "third"
)

// line is one of the table in Plan's comment.
type line struct {
	cells []string // source, destination, third, Nova, written, port
	step  string
}

// readTable reads the table where people read it.
func readTable(t *testing.T) []line {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "plan.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	var doc string
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Name.Name == "Plan" {
			doc = f.Doc.Text()
		}
	}
	header := []string{"source", "destination", "third", "Nova", "written", "port", "next step"}
	var columns []int
	var table []line
	for text := range strings.Lines(doc) {
		text = strings.TrimSuffix(text, "\n")
		switch {
		case columns == nil && strings.HasPrefix(strings.TrimSpace(text), "source  "):
			for _, h := range header {
				columns = append(columns, strings.Index(text, h))
			}
		case columns != nil && strings.HasPrefix(text, "\t"):
			l := line{}
			for i := range header[:6] {
				l.cells = append(l.cells, strings.TrimSpace(text[columns[i]:columns[i+1]]))
			}
			l.step = strings.TrimSpace(text[columns[6]:])
			table = append(table, l)
		case columns != nil && text != "":
			return table
		}
	}
	t.Fatal("no table in the comment of Plan")
	return nil
}

// kind is one of the rows that a host can have, and the words that fit it.
type kind struct {
	row   *port.Row
	words []string
}

func (k kind) fits(cell string) bool {
	if cell == "any" {
		return true
	}
	for _, word := range strings.Fields(cell) {
		if !slices.Contains(k.words, word) {
			return false
		}
	}
	return true
}

// kinds are all rows of a host: absent, ACTIVE or INACTIVE, bound, unbound or
// binding_failed, with or without migrating_to and mark. Only a mark of the row's
// own host is one; Nova copies them.
func kinds(host string, migratingTo map[string]string, marks ...string) []kind {
	all := []kind{{words: []string{"none"}}}
	for _, active := range []bool{true, false} {
		for vif, word := range map[string]string{"ovs": "bound", "unbound": "unbound", "binding_failed": "failed"} {
			for to, words := range migratingTo {
				for _, mark := range marks {
					r := port.Row{Host: host, Active: active, VIFType: vif, VNICType: "normal", Profile: map[string]any{"os_vif_delegation": true}}
					k := kind{row: &r, words: []string{word, "INACTIVE"}}
					if active {
						k.words[1] = "ACTIVE"
					}
					if to != "" {
						r.Profile[port.MigratingTo] = to
						k.words = append(k.words, strings.Fields(words)...)
					}
					if mark != "" {
						r.Profile[MadeHere] = mark
					}
					if mark == host {
						k.words = append(k.words, "made")
					}
					all = append(all, k)
				}
			}
		}
	}
	return all
}

// wrote is what is known of the source's row from the journal.
var wrote = []string{"no", "unread", "yes", "same"}

// ports are what stands in the column "port", and what makes it so.
var ports = []struct {
	word string
	make func(*Situation, *port.Row)
}{
	{"movable", func(*Situation, *port.Row) {}},
	{"other", func(s *Situation, _ *port.Row) { s.Port.DeviceOwner = "network:dhcp" }},
	{"fixed", func(s *Situation, r *port.Row) {
		if r != nil {
			r.VNICType = "direct"
		}
	}},
	{"fixed", func(s *Situation, r *port.Row) {
		if r != nil {
			r.Profile["allocation"] = map[string]any{"a": "b"}
		}
	}},
	{"fixed", func(s *Situation, _ *port.Row) { s.NoDetour = true }},
}

// everySituation calls f with each combination and with the cells that fit it.
func everySituation(f func(s Situation, fits func(l line) bool)) int {
	n := 0
	sources := kinds(src, map[string]string{"": "", dst: ">", third: "> >other"}, "", src, third)
	destinations := kinds(dst, map[string]string{"": "", src: ">"}, "", dst)
	thirds := kinds(third, map[string]string{"": "", src: ">"}, "")
	for _, source := range sources {
		for _, destination := range destinations {
			for _, other := range thirds {
				for _, nova := range []string{"at work", "presumed", "done", "came"} {
					for _, written := range wrote {
						for _, p := range ports {
							n++
							s := Situation{Source: src, Destination: dst, NovaDone: nova != "at work", Presumed: nova == "presumed", Came: nova == "came", Unread: written == "unread"}
							s.Port = port.Port{ID: "p", DeviceOwner: "compute:nova"}
							var own *port.Row
							for _, k := range []kind{source, destination, other} {
								if k.row == nil {
									continue
								}
								r := *k.row
								r.Profile = cloned(r.Profile)
								s.Port.Rows = append(s.Port.Rows, r)
							}
							if source.row != nil {
								own = &s.Port.Rows[0]
							}
							p.make(&s, own)
							switch {
							case written == "yes":
								s.Held = &Held{VNICType: "macvtap", Profile: map[string]any{"held": true}}
								if own != nil {
									s.Held.VNICType = own.VNICType
								}
							case written == "same" && own != nil:
								h := heldBy(*own)
								s.Held = &h
							}
							destination := destination
							if s.Came {
								destination.words = slices.DeleteFunc(slices.Clone(destination.words), func(w string) bool { return w == ">" })
							}
							f(s, func(l line) bool {
								return source.fits(l.cells[0]) && destination.fits(l.cells[1]) && other.fits(l.cells[2]) &&
									(l.cells[3] == "any" || l.cells[3] == nova || l.cells[3] == "done" && s.Came) &&
									(l.cells[4] == "any" || l.cells[4] == written || l.cells[4] == "yes" && s.Held != nil || l.cells[4] == "no" && s.Held == nil) &&
									(l.cells[5] == "any" || l.cells[5] == p.word)
							})
						}
					}
				}
			}
		}
	}
	return n
}

func cloned(profile map[string]any) map[string]any {
	c := map[string]any{}
	for k, v := range profile {
		c[k] = v
	}
	return c
}

func TestPlanIsItsTable(t *testing.T) {
	table := readTable(t)
	used := make([]int, len(table))
	n := everySituation(func(s Situation, fits func(line) bool) {
		i := slices.IndexFunc(table, fits)
		if i < 0 {
			t.Fatalf("no line fits %+v", s)
		}
		used[i]++
		step := Plan(s)
		said := step.Action.String()
		switch {
		case step.Host == src && step.Action != Rebind && step.Action != WriteDown:
			said += " source"
		case step.Host == dst:
			said += " destination"
		}
		if said != table[i].step {
			t.Fatalf("%+v: %s (%s), the table says %s in line %d", s, said, step.Why, table[i].step, i+1)
		}
		checkStep(t, s, step)
	})
	if want := 55 * 25 * 13 * 4 * len(wrote) * len(ports); n != want {
		t.Errorf("%d situations, want %d", n, want)
	}
	for i, times := range used {
		if times == 0 {
			t.Errorf("line %d of the table is never needed: %+v", i+1, table[i])
		}
	}
}

func checkStep(t *testing.T, s Situation, step Step) {
	t.Helper()
	source, _ := s.Port.Row(src)
	switch step.Action {
	case Rebind:
		if want := heldBy(source).Profile; asJSON(step.Profile) != asJSON(want) {
			t.Errorf("rebinds with %v, want %v", step.Profile, want)
		}
	case Create:
		want := Held{VNICType: source.VNICType, Profile: map[string]any{}}
		if step.Host == src {
			want = *s.Held
		}
		row := port.Row{Host: step.Host, VNICType: step.VNIC, Profile: step.Profile}
		if !Made(row) || !heldBy(row).equal(want) {
			t.Errorf("creates %s with %v, want %+v and the mark", step.VNIC, step.Profile, want)
		}
	case WriteDown:
		if !step.Held.equal(heldBy(source)) || step.Held.Profile[port.MigratingTo] != nil || step.Held.Profile[MadeHere] != nil {
			t.Errorf("writes down %+v of %+v", step.Held, source)
		}
	case Wait, HandsOff:
		if step.Host != "" || step.Why == "" {
			t.Errorf("%+v", step)
		}
	}
}

// Whatever is found, the steps lead to an end: right, or in the hands of Nova or
// of an operator; no row of a third host is touched, and what the source's row
// held is there again.
func TestEveryPlanComesToAnEnd(t *testing.T) {
	everySituation(func(s Situation, _ func(line) bool) {
		began := s
		wanted, known := wantedOf(s)
		other, hadOther := s.Port.Row(third)
		for n := 0; ; n++ {
			step := Plan(s)
			after, hasOther := s.Port.Row(third)
			if hasOther != hadOther || hasOther && (after.Active != other.Active || after.VIFType != other.VIFType) {
				t.Fatalf("the third host's row was touched from %+v: %+v", began, s)
			}
			switch step.Action {
			case HandsOff, Wait:
				return
			case Done:
				if right, why := s.Port.RightOn(src); !right {
					t.Fatalf("done, but %s: %+v from %+v", why, s.Port, began)
				}
				if row, _ := s.Port.Row(src); known && !heldBy(row).equal(wanted) {
					t.Fatalf("holds %+v, want %+v, from %+v", heldBy(row), wanted, began)
				}
				return
			}
			if n > 8 {
				t.Fatalf("no end after %d steps: %s (%s) from %+v", n, step.Action, step.Why, began)
			}
			neutron(&s, step)
		}
	})
}

// wantedOf is what the source's row is to hold in the end.
func wantedOf(s Situation) (Held, bool) {
	row, has := s.Port.Row(src)
	switch {
	case has:
		return heldBy(row), true
	case s.Held != nil:
		return *s.Held, true
	}
	return Held{}, false
}

// neutron does to the rows what the real one does (bindings.md): activate
// unbinds the row that it deactivates and binds nothing; a row becomes ACTIVE at
// once where there is none; only an update of the port binds again.
func neutron(s *Situation, step Step) {
	p := &s.Port
	p.Rows = slices.Clone(p.Rows)
	at := slices.IndexFunc(p.Rows, func(r port.Row) bool { return r.Host == step.Host })
	active := slices.IndexFunc(p.Rows, func(r port.Row) bool { return r.Active })
	switch step.Action {
	case WriteDown:
		h := step.Held
		s.Held = &h
	case Activate:
		if active < 0 || at < 0 {
			return // 500, 404
		}
		p.Rows[active].Active, p.Rows[active].VIFType = false, port.VIFUnbound
		p.Rows[at].Active = true
	case Rebind:
		if active >= 0 {
			p.Rows[active].VIFType, p.Rows[active].Profile = "ovs", cloned(step.Profile)
		}
	case Create:
		if at < 0 {
			p.Rows = append(p.Rows, port.Row{Host: step.Host, Active: active < 0, VIFType: "ovs", VNICType: step.VNIC, Profile: cloned(step.Profile)})
		}
	case Delete:
		if at >= 0 {
			p.Rows = slices.Delete(p.Rows, at, at+1)
		}
	}
}

func asJSON(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(raw)
}

func TestPlanDoesNotChangeWhatItWasGiven(t *testing.T) {
	profile := map[string]any{port.MigratingTo: dst, "a": 1}
	p := port.Port{DeviceOwner: "compute:nova", Rows: []port.Row{{Host: src, Active: true, VIFType: "unbound", Profile: profile}}}
	step := Plan(Situation{Port: p, Source: src, Destination: dst})
	if len(profile) != 2 || len(step.Profile) != 1 {
		t.Errorf("was given %v, gives %v", profile, step.Profile)
	}
}

func TestAProfileThatIsMissingBecomesEmptyAndNotNull(t *testing.T) {
	p := port.Port{DeviceOwner: "compute:nova", Rows: []port.Row{{Host: src, Active: true, VIFType: "unbound"}}}
	if step := Plan(Situation{Port: p, Source: src, Destination: dst}); step.Profile == nil {
		t.Error("the profile is nil")
	}
}

func TestWithoutAKnownDestinationTheSourcesRowIsMadeAnew(t *testing.T) {
	p := port.Port{ID: "p", DeviceOwner: "compute:nova", Rows: []port.Row{{Host: src, VIFType: "unbound", VNICType: "normal"}}}
	if step := Plan(Situation{Port: p, Source: src, NovaDone: true}); step.Action != WriteDown {
		t.Errorf("%+v", step)
	}
}

func TestWhatIsLeftAloneIsTold(t *testing.T) {
	p := port.Port{DeviceOwner: "compute:nova", Rows: []port.Row{{Host: src, Active: true, VIFType: "ovs"}, {Host: third, VIFType: "ovs"}}}
	step := Plan(Situation{Port: p, Source: src, Destination: dst})
	if step.Action != Done || step.Why != "an INACTIVE row is left on third" {
		t.Errorf("%+v", step)
	}
}
