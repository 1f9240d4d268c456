package main

import (
	"strings"
	"testing"

	"github.com/earlybind/earlybind/internal/config"
	"github.com/earlybind/earlybind/internal/program"
	"github.com/earlybind/earlybind/publisher"
)

// What -h shows of settings is enough to begin with, and has none that there is not.
func TestSampleOfSettings(t *testing.T) {
	shown := map[string]bool{}
	for _, line := range about().Sample {
		name, _, _ := strings.Cut(line, "=")
		shown[name] = true
	}
	for _, v := range config.Variables("EARLYBIND", &program.Settings{}, &publisher.Settings{}) {
		if v.Required && !shown[v.Name] && !shown[v.Name+"_FILE"] {
			t.Errorf("%s is required, and not shown", v.Name)
		}
		delete(shown, v.Name)
	}
	for name := range shown {
		if strings.HasPrefix(name, "EARLYBIND_") {
			t.Errorf("%s is no setting", name)
		}
	}
}
