//go:build integration

package browser

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"html"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

const (
	root = "../.."
	// policy is the page's own: nothing may be loaded, no script may run. It is taken
	// out of the copy that is measured by one.
	policy = `<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">`
)

// measure tells, as JSON, what a person would see at a glance.
const measure = `<pre id="measured"></pre><script>
const seen = r => r.width > 0 && r.height > 0;
const overlap = (a, b) => a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1;
let outside = [], overlapping = [];
for (const svg of document.querySelectorAll("svg")) {
  const box = svg.getBoundingClientRect();
  const texts = [...svg.querySelectorAll("text")].map(t => [t.textContent, t.getBoundingClientRect()]).filter(t => seen(t[1]));
  for (const shape of svg.querySelectorAll("text, rect, circle, polyline")) {
    const r = shape.getBoundingClientRect();
    if (seen(r) && (r.left < box.left - 2 || r.right > box.right + 2 || r.top < box.top - 2 || r.bottom > box.bottom + 2)) outside.push(shape.outerHTML);
  }
  texts.forEach((a, i) => texts.slice(i + 1).forEach(b => { if (overlap(a[1], b[1])) overlapping.push(a[0] + " / " + b[0]); }));
}
const style = getComputedStyle(document.body);
document.getElementById("measured").textContent = JSON.stringify({
  back: style.backgroundColor, text: style.color, title: document.querySelector("h1").textContent,
  wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  told: document.querySelectorAll("section.told").length, plots: document.querySelectorAll("svg").length,
  circles: document.querySelectorAll("circle").length, loaded: performance.getEntriesByType("resource").length,
  outside, overlapping});
</script>`

type measured struct {
	Back, Text, Title                  string
	Wide, Told, Plots, Circles, Loaded int
	Outside, Overlapping               []string
}

func run(t *testing.T, name string, args ...string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = root
	var faults bytes.Buffer
	cmd.Stderr = &faults
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, out, &faults)
	}
	if strings.Contains(faults.String(), "CONSOLE") { // what the page itself has to complain of
		t.Errorf("%s", &faults)
	}
	return out
}

// browse opens a file in chromium.
func browse(t *testing.T, file string, width int, dark bool, args ...string) []byte {
	t.Helper()
	scheme := "1"
	if dark {
		scheme = "0"
	}
	return run(t, "chromium", append([]string{
		"--headless", "--no-sandbox", "--no-first-run", "--disable-extensions", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr",
		"--user-data-dir=" + t.TempDir(), fmt.Sprintf("--window-size=%d,3000", width), "--blink-settings=preferredColorScheme=" + scheme,
	}, append(args, "file://"+file)...)...)
}

// report has the program make a page of what a consumer wrote of the recordings, among
// them failures, a guest on both hosts and one that is lost; or of one instance.
func report(t *testing.T, program string, asked ...string) string {
	t.Helper()
	dir := t.TempDir()
	var logs []string
	for i, name := range []string{"success", "slow-switchover", "failed-in-switchover", "two-guests", "post-copy-failed", "destination-thaws", "nova-success"} {
		log := filepath.Join(dir, fmt.Sprintf("%d.log", i))
		run(t, program, "replay", "-policy", "suspended", "-audit", log, "recordings/"+name+".jsonl")
		logs = append(logs, log)
	}
	page := filepath.Join(dir, "report.html")
	cmd := exec.CommandContext(t.Context(), program, append(append([]string{"audit", "-html", page}, asked...), logs...)...)
	if out, err := cmd.CombinedOutput(); cmd.ProcessState.ExitCode() != 3 { // something is not right in it
		t.Fatalf("%v\n%s", err, out)
	}
	return page
}

var loads = regexp.MustCompile(`(?i)<(script|link|img|iframe|object|embed)\b|\b(src|href)=|url\(|@import|https?:`)

func TestThePageCanBeReadFromDisk(t *testing.T) {
	program := filepath.Join(t.TempDir(), "earlybind")
	run(t, "go", "build", "-o", program, "./cmd/earlybind")
	if err := os.MkdirAll(filepath.Join(root, "var"), 0o755); err != nil {
		t.Fatal(err)
	}
	// A start of the browser takes seconds, so that not every page is seen in every way.
	whole, instance := report(t, program), report(t, program, "-instance", "67322275-37eb-4301-9b66-d8d416b4cca1")
	wide := measurePage(t, whole, 1100, false)
	dark := measurePage(t, whole, 500, true)
	measurePage(t, instance, 500, false)
	if wide.Back == dark.Back {
		t.Errorf("light and dark have the same background %s", dark.Back)
	}
	look(t, whole, "light", false)
	look(t, instance, "instance-dark", true)
}

// measurePage looks at a page as it is in a window of that width.
func measurePage(t *testing.T, page string, width int, dark bool) measured {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if found := loads.FindAll(text, -1); found != nil {
		t.Errorf("the page loads: %q", found)
	}
	copied := strings.Replace(string(text), policy, "", 1)
	if copied == string(text) {
		t.Error("the page does not forbid to load")
	}
	copied = strings.Replace(copied, "</body>", measure+"</body>", 1)
	probe := filepath.Join(t.TempDir(), "measured.html")
	if err := os.WriteFile(probe, []byte(copied), 0o600); err != nil {
		t.Fatal(err)
	}
	m := read(t, browse(t, probe, width, dark, "--dump-dom"))
	about := fmt.Sprintf("%s, %d wide, dark %t", m.Title, width, dark)
	if m.Wide > 0 {
		t.Errorf("%s: it is %d wider than the window", about, m.Wide)
	}
	if len(m.Outside) > 0 || len(m.Overlapping) > 0 {
		t.Errorf("%s: outside of their plots: %q; one over the other: %q", about, m.Outside, m.Overlapping)
	}
	if m.Told < 2 || m.Plots < m.Told+1 || m.Circles < 10 || m.Loaded != 0 || !strings.HasPrefix(m.Title, "Something is not right") || m.Back == m.Text {
		t.Errorf("%s: %+v", about, m)
	}
	return m
}

var result = regexp.MustCompile(`<pre id="measured">([^<]+)</pre>`)

func read(t *testing.T, dom []byte) measured {
	t.Helper()
	var m measured
	found := result.FindSubmatch(dom)
	if found == nil {
		t.Fatalf("nothing was measured:\n%.2000s", dom)
	}
	if err := json.Unmarshal([]byte(html.UnescapeString(string(found[1]))), &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// look takes a picture of the page as it is, for people, and sees that there is something
// on it.
func look(t *testing.T, page, name string, dark bool) {
	t.Helper()
	picture, err := filepath.Abs(filepath.Join(root, "var", "report-"+name+".png"))
	if err != nil {
		t.Fatal(err)
	}
	browse(t, page, 1100, dark, "--screenshot="+picture)
	file, err := os.Open(picture)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	drawn, err := png.Decode(file)
	if err != nil {
		t.Fatal(err)
	}
	colours := map[any]int{}
	for y := 0; y < drawn.Bounds().Dy(); y += 3 {
		for x := 0; x < drawn.Bounds().Dx(); x += 3 {
			colours[drawn.At(x, y)]++
		}
	}
	if len(colours) < 50 {
		t.Errorf("%s: only %d colours", picture, len(colours))
	}
	t.Logf("%s", picture)
}
