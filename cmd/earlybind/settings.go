package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/earlybind/earlybind/binding"
	"github.com/earlybind/earlybind/consumer"
	"github.com/earlybind/earlybind/internal/broker"
	"github.com/earlybind/earlybind/internal/config"
	"github.com/earlybind/earlybind/internal/program"
)

// consumerSettings reads the settings of a consumer from the environment, in which those that
// every program has may stand too: so that the consumer's own environment will do.
func consumerSettings(faults io.Writer) (consumer.Settings, error) {
	var settings consumer.Settings
	var common program.Settings
	if err := config.Load("EARLYBIND", &common, &settings); err != nil {
		return settings, missetting(err, faults)
	}
	return settings, nil
}

// missetting tells what is wrong with the settings, and where they are to come from.
func missetting(err error, faults io.Writer) error {
	fmt.Fprintf(faults, "%v\nThese are a consumer's settings: set -a; . /etc/earlybind/consumer.env; set +a (docs/settings.md)\n", err)
	return errUsage
}

// cloudSettings reads those settings of a consumer by which a cloud is met, for who needs no others. A variable that is
// no setting of a consumer's is refused, as [consumerSettings] does: a name that is mistyped must not leave another
// cloud in its place.
func cloudSettings(faults io.Writer) (consumer.Settings, error) {
	settings := consumer.Settings{Cloud: os.Getenv("EARLYBIND_CLOUD"), OSServerName: os.Getenv(osServerName)}
	var known []string
	for _, v := range config.Variables("EARLYBIND", &program.Settings{}, &consumer.Settings{}) {
		known = append(known, v.Name)
	}
	var wrong []error
	environ := os.Environ()
	slices.Sort(environ)
	for _, pair := range environ {
		if name, _, _ := strings.Cut(pair, "="); strings.HasPrefix(name, "EARLYBIND_") && !slices.Contains(known, name) {
			wrong = append(wrong, fmt.Errorf("%s is not a setting of this program", name))
		}
	}
	if err := broker.CheckServerName(osServerName, settings.OSServerName); err != nil {
		wrong = append(wrong, err)
	}
	if len(wrong) > 0 {
		return settings, missetting(errors.Join(wrong...), faults)
	}
	return settings, nil
}

// osServerName is the variable with the name that the certificates of Keystone and Neutron are for.
const osServerName = "EARLYBIND_OS_SERVER_NAME"

// letIn tells of the faults of OpenStack's settings, for which nobody needs to be asked: those by which
// Neutron is asked, and those by which Nova is.
func letIn(neutron, nova binding.ClientOpts, faults io.Writer) error {
	if err := binding.CheckCredentials(neutron); err != nil {
		return missetting(fmt.Errorf("Neutron: %w", err), faults)
	}
	if err := binding.CheckCredentials(nova); err != nil {
		return missetting(fmt.Errorf("Nova: %w", err), faults)
	}
	return nil
}

// ofCell tells in a line what is wrong with one of some cells.
func ofCell(cell string, cells int, err error) string {
	var away *broker.Away
	if errors.As(err, &away) && cells == 1 { // which names its nodes
		return broker.Told(err)
	}
	return cell + ": " + broker.Told(err)
}
