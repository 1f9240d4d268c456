package packages

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/earlybind/earlybind/consumer"
	"github.com/earlybind/earlybind/internal/config"
	"github.com/earlybind/earlybind/internal/program"
	"github.com/earlybind/earlybind/publisher"
)

const (
	settingsDoc = "../../docs/settings.md"
	samples     = "../../deploy/packages/settings/"
)

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// documented are the variables in the tables of some sections of the docs, with their defaults.
func documented(t *testing.T, headings ...string) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, section := range strings.Split(read(t, settingsDoc), "\n## ") {
		if heading, _, _ := strings.Cut(section, "\n"); !slices.Contains(headings, heading) {
			continue
		}
		for _, row := range regexp.MustCompile("(?m)^\\| (`EARLYBIND_[^|]*`) \\| ([^|]*) \\|").FindAllStringSubmatch(section, -1) {
			for _, name := range regexp.MustCompile(`EARLYBIND_\w+`).FindAllString(row[1], -1) {
				found[name] = strings.Trim(row[2], "`")
			}
		}
	}
	return found
}

// The docs have every setting that a program reads, and no other, with its default.
func TestDocsAreWhatTheProgramsRead(t *testing.T) {
	// What the docs say where there is no default.
	words := []string{"off", "none", "system's CAs", "OS_CLOUD"}
	for heading, settings := range map[string]any{"Consumer": &consumer.Settings{}, "Publisher": &publisher.Settings{}} {
		told := documented(t, "Both programs", heading)
		told[secretFile] = "none" // in words, above the tables
		for _, v := range config.Variables("EARLYBIND", &program.Settings{}, settings) {
			says, there := told[v.Name]
			delete(told, v.Name)
			switch {
			case !there:
				t.Errorf("%s: docs/settings.md does not have %s", heading, v.Name)
			case v.Required && says != "required", !v.Required && v.Default == "" && !slices.Contains(words, says), v.Default != "" && v.Default != says:
				t.Errorf("%s: docs/settings.md has %s as %q, it is %+v", heading, v.Name, says, v)
			}
		}
		for name := range told {
			t.Errorf("%s: docs/settings.md has %s, which is no setting of it", heading, name)
		}
	}
}

// secretFile is a setting that the docs have in a sentence and not in a table.
const secretFile = "EARLYBIND_AMQP_PASSWORD_FILE"

// A sample has every setting, and what is commented out in it is the default.
func TestSamplesAreWhatTheDocsSay(t *testing.T) {
	// What the docs call by another name than a value, or a sample explains in words.
	words := []string{"off", "none", "required", "system's CAs", "secret", "OS_CLOUD", ""}
	for program, heading := range map[string]string{"consumer": "Consumer", "publisher": "Publisher"} {
		want := documented(t, "Both programs", heading)
		if len(want) < 14 {
			t.Fatalf("%s: only %d settings are in the docs", program, len(want))
		}
		want[secretFile] = ""
		sample := read(t, samples+program+".env")
		got := map[string]string{}
		for _, line := range regexp.MustCompile(`(?m)^(#?)(EARLYBIND_\w+)=(.*)$`).FindAllStringSubmatch(sample, -1) {
			name, value := line[2], line[3]
			if _, twice := got[name]; twice {
				t.Errorf("%s: %s is there twice", program, name)
			}
			got[name] = value
			if line[1] == "#" && value != want[name] && (value != "" || !slices.Contains(words, want[name])) {
				t.Errorf("%s: %s=%s, the default is %q", program, name, value, want[name])
			}
		}
		if names, documented := slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)); !slices.Equal(names, documented) {
			t.Errorf("%s: the sample has %q\nthe docs have %q", program, names, documented)
		}
	}
}
