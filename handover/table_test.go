package handover

import (
	"go/ast"
	"go/parser"
	"go/token"
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
	gap := regexp.MustCompile(` {2,}`)
	cells = map[string]map[string]string{}
	for line := range strings.Lines(comment) {
		if !strings.HasPrefix(line, "\t") {
			continue
		}
		fields := gap.Split(strings.TrimSpace(line), -1)
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
	"post-copy":        {"post-copy"},
	"post-copy failed": {"post-copy failed"},
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
