package consumer

import (
	"slices"
	"strings"
	"testing"

	"github.com/earlybind/earlybind/internal/config"
)

// loadCells reads settings with that EARLYBIND_OTHER_CELLS.
func loadCells(t *testing.T, others string) (s Settings, err error) {
	t.Helper()
	t.Setenv("EARLYBIND_AMQP_USER", "u")
	t.Setenv("EARLYBIND_AMQP_PASSWORD", "hunter2")
	t.Setenv("EARLYBIND_AMQP_URLS", "amqp://a1,amqp://a2")
	t.Setenv("EARLYBIND_OTHER_CELLS", others)
	err = config.Load("EARLYBIND", &s)
	return s, err
}

func TestEachCellHasSettingsOfItsOwn(t *testing.T) {
	for others, want := range map[string][]string{
		"": {"a1:5672,a2:5672"},
		"amqp://b1,amqp://b2\n  amqp://a1/cell3 ": {"a1:5672,a2:5672", "b1:5672,b2:5672", "a1:5672/cell3"},
	} {
		s, err := loadCells(t, others)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, one := range s.PerCell() {
			got = append(got, one.AMQPUrls.String())
			if one.OtherCells != nil || one.AMQPUser != "u" || one.Queue != "earlybind" {
				t.Errorf("%+v", one)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q: %q", others, got)
		}
	}
}

func TestFaultsOfCellsAreNamedAtOnceWithoutPasswords(t *testing.T) {
	_, err := loadCells(t, "http://b amqp://u:hunter2@c,amqp://d:hunter2 amqp://e/one,amqp://f/two amqp://a2:5672/ amqp://g amqp://g")
	for _, want := range []string{
		"EARLYBIND_OTHER_CELLS: cell 1: entry 1 is not amqp://host",
		"EARLYBIND_OTHER_CELLS: cell 2: entry 1 holds credentials",
		"EARLYBIND_OTHER_CELLS: cell 2: entry 2 is not a URL",
		"EARLYBIND_OTHER_CELLS: cell 3: the entries name different virtual hosts",
		"EARLYBIND_OTHER_CELLS: cell 4 is the broker of another cell",
		"EARLYBIND_OTHER_CELLS: cell 6 is the broker of another cell",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("lacks %q: %v", want, err)
		}
	}
	if err != nil && (strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "cell 5")) {
		t.Errorf("%v", err)
	}
}
