package main

import (
	"fmt"
	"io"

	"github.com/earlybind/earlybind/consumer"
	"github.com/earlybind/earlybind/internal/config"
	"github.com/earlybind/earlybind/internal/program"
)

// consumerSettings reads the settings of a consumer from the environment, in which those that
// every program has may stand too: so that the consumer's own environment will do.
func consumerSettings(faults io.Writer) (consumer.Settings, error) {
	var settings consumer.Settings
	var common program.Settings
	if err := config.Load("EARLYBIND", &common, &settings); err != nil {
		fmt.Fprintf(faults, "%v\nThese are a consumer's settings: set -a; . /etc/earlybind/consumer.env; set +a (docs/settings.md)\n", err)
		return settings, errUsage
	}
	return settings, nil
}
