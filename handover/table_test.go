package handover

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// commentTable reads the transition table out of the comment at [Phase]: the
// names of its columns, and its cells by row and column.
func commentTable(t *testing.T) (columns []string, cells map[string]map[string]string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "phase.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	var comment string
	for _, d := range file.Decls {
		if g, ok := d.(*ast.GenDecl); ok && g.Tok == token.TYPE && g.Specs[0].(*ast.TypeSpec).Name.Name == "Phase" {
			comment = g.Doc.Text()
		}
	}
	return parseTable(t, comment)
}

var betweenCells = regexp.MustCompile(` {2,}`)

// parseTable reads the lines of a text that are indented by a tab: the columns' names first, then a
// row's name and its cells, two spaces or more between them.
func parseTable(t *testing.T, text string) (columns []string, cells map[string]map[string]string) {
	t.Helper()
	cells = map[string]map[string]string{}
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "\t") {
			continue
		}
		fields := betweenCells.Split(strings.TrimSpace(line), -1)
		if columns == nil {
			columns = fields
			continue
		}
		row := map[string]string{}
		for i, column := range columns {
			if len(fields) != len(columns)+1 {
				t.Fatalf("row %q has %d cells, want %d", fields[0], len(fields)-1, len(columns))
			}
			row[column] = fields[i+1]
		}
		cells[fields[0]] = row
	}
	return columns, cells
}

// taughtBy gives, of each row of the comment, the rows of the tested table that
// teach the same.
var taughtBy = map[string][]string{
	"paused":           {"paused"},
	"post-copy":        {"post-copy", "source in post-copy by its list"},
	"post-copy failed": {"post-copy failed", "source lists a failed post-copy", "destination says that post-copy has failed"},
	"source resumed":   {"source resumed", "source reads running"},
	"source died":      {"source died"},
	"source left":      {"source left"},
	"arrived":          {"arrived", "arrived paused", "destination reads running"},
	"destination gone": {"destination gone", "destination left", "destination absent"},
	"Nova takes over":  {"Nova takes over", "Nova finishes"},
	"Nova rolls back":  {"Nova rolls back", "Nova rolls back on the destination", "pre_live_migration raised", "the conductor refused"},
}

// besides are the cells that the comment puts into words, before the table.
func besides(row, column, said string) string {
	switch {
	case row == "source reads running" && column == "watching":
		return "." // news only after a pause
	case column == "failed, gone" && said == "Contradicted":
		return "Failing"
	case row == "source absent" && (column == "arrived" || column == "contradicted"):
		return "Left"
	case column == "left, says Nova" && slices.Contains(taughtBy["Nova rolls back"], row):
		return "Failing"
	case column == "left, says Nova" && (slices.Contains(taughtBy["source resumed"], row) || slices.Contains(taughtBy["destination gone"], row) || row == "source died"):
		return "Failed"
	}
	return said
}

// The table that is tested cell by cell is the one that the comment shows.
func TestTheTableInTheCommentIsTheOneThatIsTested(t *testing.T) {
	names, cells := commentTable(t)
	if len(cells) != len(taughtBy) || len(names) != int(Lost) { // all phases but Left
		t.Fatalf("%d rows and %d columns", len(cells), len(names))
	}
	shown := map[string]string{}
	for said, rows := range taughtBy {
		for _, row := range rows {
			shown[row] = said
		}
	}
	for _, row := range table {
		said, isShown := shown[row.name]
		delete(shown, row.name)
		if isShown && cells[said] == nil {
			t.Fatalf("the comment has no row %q", said)
		}
		for i, column := range columns {
			want := "."
			if isShown && column.phase != Left {
				at := slices.IndexFunc(names, func(n string) bool { return strings.EqualFold(n, column.phase.String()) })
				if at < 0 {
					t.Fatalf("the comment has no column for %s", column.phase)
				}
				want = cells[said][names[at]]
			}
			if want = besides(row.name, column.name, want); want == "." {
				want = column.phase.String()
			}
			if got := row.next[i].String(); !strings.EqualFold(got, want) {
				t.Errorf("%s + %s: the comment says %s, what is tested is %s", column.name, row.name, want, got)
			}
		}
	}
	if len(shown) > 0 {
		t.Errorf("rows that are not tested: %v", shown)
	}
}

// anywhere are the rows that lead from every phase but Left to one and the same. The
// diagram leaves them out, and the sentence below it has them.
var anywhere = map[string]Phase{"source left": Left, "post-copy failed": Lost}

// drawn reads the diagram of docs/architecture.md: what leads from one phase to another,
// by "From --> To".
func drawn(t *testing.T) map[string][]string {
	t.Helper()
	page, err := os.ReadFile("../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	_, diagram, _ := strings.Cut(string(page), "```mermaid\nstateDiagram-v2\n")
	diagram, below, ended := strings.Cut(diagram, "\n```\n")
	if !ended {
		t.Fatal("docs/architecture.md has no stateDiagram-v2")
	}
	for row, to := range anywhere {
		if said := fmt.Sprintf("**%s** leads to %s", row, camel(to)); !strings.Contains(below, said) {
			t.Errorf("below the diagram it does not say %q", said)
		}
	}
	edges := map[string][]string{}
	for line := range strings.Lines(diagram) {
		edge, label, _ := strings.Cut(strings.TrimSpace(line), ": ")
		if _, twice := edges[edge]; twice {
			t.Errorf("%s is there twice", edge)
		}
		edges[edge] = strings.Split(label, ", ")
	}
	return edges
}

// camel is a phase's name as the code and the diagram write it.
func camel(p Phase) string {
	if p == PostCopy {
		return "PostCopy"
	}
	return strings.ToUpper(p.String()[:1]) + p.String()[1:]
}

// The diagram that people are shown draws each cell of the table that leads to another
// phase, and nothing else.
func TestTheDiagramInTheDocsIsTheTable(t *testing.T) {
	names, cells := commentTable(t)
	want := map[string][]string{"[*] --> " + camel(Watching): {""}}
	for row, to := range cells {
		for _, from := range names {
			led, everywhere := anywhere[row]
			switch cell := to[from]; {
			case everywhere && cell != camel(led) && from != camel(led):
				t.Errorf("%s leads from %s to %s: the diagram takes it to lead to %s from anywhere", row, from, cell, camel(led))
			case !everywhere && cell != "." && cell != from:
				want[from+" --> "+cell] = append(want[from+" --> "+cell], row)
			}
		}
	}
	got := drawn(t)
	for _, edge := range slices.Sorted(maps.Keys(want)) {
		slices.Sort(want[edge])
		if is := slices.Sorted(slices.Values(got[edge])); !slices.Equal(is, want[edge]) {
			t.Errorf("%s by %q, the table has %q", edge, is, want[edge])
		}
	}
	for edge := range got {
		if want[edge] == nil {
			t.Errorf("%s is drawn and not in the table", edge)
		}
	}
}
