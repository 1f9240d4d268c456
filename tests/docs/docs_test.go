package docs

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const root = "../.."

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, file))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// files gives the repository's files with an ending, by their names in it. Left out is what is
// made (bin, dist, var) and hidden.
func files(t *testing.T, ending string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		switch {
		case d.IsDir() && (slices.Contains([]string{"bin", "dist", "var"}, name) || strings.HasPrefix(name, ".") && name != "."):
			return fs.SkipDir
		case !d.IsDir() && strings.HasSuffix(name, ending):
			found = append(found, filepath.ToSlash(name))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// pages are the documentation: what a person reads.
func pages(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, name := range files(t, ".md") {
		all[name] = read(t, name)
	}
	if len(all) < 15 || all["README.md"] == "" || all["docs/architecture.md"] == "" {
		t.Fatalf("only %q were found", slices.Sorted(maps.Keys(all)))
	}
	return all
}

var (
	heading = regexp.MustCompile(`(?m)^#+ (.+)$`)
	fenced  = regexp.MustCompile("(?ms)^```.*?^```$")
	// notInAnchors is what is left out of a heading where a link names it.
	notInAnchors = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// anchors gives the names by which a page's headings are linked to, as GitHub makes them.
func anchors(page string) map[string]bool {
	found := map[string]bool{}
	for _, h := range heading.FindAllStringSubmatch(fenced.ReplaceAllString(page, ""), -1) {
		name := strings.ToLower(notInAnchors.ReplaceAllString(h[1], ""))
		found[strings.ReplaceAll(name, " ", "-")] = true
	}
	return found
}

// A link within the documentation leads to a file that is there, and to a heading that it has.
func TestEveryLinkLeadsSomewhere(t *testing.T) {
	all := pages(t)
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	looked := 0
	for page, text := range all {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			to, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(to, "://") {
				continue
			}
			looked++
			target := page
			if to != "" {
				target = filepath.ToSlash(filepath.Join(filepath.Dir(page), to))
			}
			if _, err := os.Stat(filepath.Join(root, target)); err != nil {
				t.Errorf("%s: there is no %s", page, m[1])
				continue
			}
			if anchor != "" && !anchors(all[target])[anchor] {
				t.Errorf("%s: %s has no heading #%s", page, target, anchor)
			}
		}
	}
	if looked < 100 {
		t.Errorf("only %d links were found", looked)
	}
}

// A command that is broken across lines is two where it is pasted into a shell: inline code is on one line, and what is too
// long for that is a block.
func TestNoCodeIsBrokenAcrossLines(t *testing.T) {
	for page, text := range pages(t) {
		for line := range strings.Lines(fenced.ReplaceAllString(text, "")) {
			if block := strings.HasPrefix(line, "    "); !block && strings.Count(line, "`")%2 == 1 {
				t.Errorf("%s: code ends, or begins, on another line: %s", page, line)
			}
		}
	}
}

// A test that a page names as proof is there: one that is renamed, or dropped, takes its
// statement with it.
func TestEveryTestThatIsNamedIsThere(t *testing.T) {
	is := map[string]bool{}
	function := regexp.MustCompile(`(?m)^func ((?:Test|Benchmark|Fuzz)\w+)\(`)
	for _, file := range files(t, "_test.go") {
		for _, m := range function.FindAllStringSubmatch(read(t, file), -1) {
			is[m[1]] = true
		}
	}
	name := regexp.MustCompile(`\b(?:Test|Benchmark)[A-Z]\w+`)
	named := 0
	for page, text := range pages(t) {
		for _, test := range name.FindAllString(text, -1) {
			named++
			if !is[test] {
				t.Errorf("%s: there is no %s", page, test)
			}
		}
	}
	if named < 50 {
		t.Errorf("only %d are named", named)
	}
}

// The README's table has every package, and none that is gone.
func TestEveryPackageIsInTheREADME(t *testing.T) {
	_, table, _ := strings.Cut(read(t, "README.md"), "| package | what |\n")
	told := map[string]bool{}
	for line := range strings.Lines(table) {
		if !strings.HasPrefix(line, "|") {
			break
		}
		cell := strings.Split(line, "|")[1]
		for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cell, -1) {
			told[m[1]] = true
			if _, err := os.Stat(filepath.Join(root, m[1])); err != nil {
				t.Errorf("README.md: there is no %s", m[1])
			}
		}
	}
	is := map[string]bool{}
	for _, file := range files(t, ".go") {
		is[filepath.ToSlash(filepath.Dir(file))] = true
	}
	for _, dir := range slices.Sorted(maps.Keys(is)) {
		if !told[dir] {
			t.Errorf("README.md does not have the package %s", dir)
		}
	}
}

// The guide's index has every page.
func TestTheGuideHasEveryPage(t *testing.T) {
	guide := read(t, "docs/README.md")
	for page := range pages(t) {
		if name, is := strings.CutPrefix(page, "docs/"); is && !strings.Contains(name, "/") && name != "README.md" && !strings.Contains(guide, "("+name) {
			t.Errorf("docs/README.md does not have %s", name)
		}
	}
}

// Who sees earlybind for the first time reads it all.
func TestTheREADMEIsShort(t *testing.T) {
	if n := strings.Count(read(t, "README.md"), "\n"); n >= 200 {
		t.Errorf("README.md has %d lines", n)
	}
}
