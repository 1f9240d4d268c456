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

// settingsFor reads the settings of a consumer from the environment for a command, in which those that every program
// has may stand too: so that the consumer's own environment will do.
func settingsFor(command string, faults io.Writer) (consumer.Settings, error) {
	var settings consumer.Settings
	var common program.Settings
	if err := config.Load("EARLYBIND", &common, &settings); err != nil {
		return settings, missetting(command, err, faults)
	}
	return settings, nil
}

// publishers are the settings that the publisher alone has.
var publishers = []string{
	"EARLYBIND_HOST", "EARLYBIND_LIBVIRT_URI", "EARLYBIND_EVENT_BUFFER", "EARLYBIND_EVENT_EXPIRY", "EARLYBIND_STATE_DIR", "EARLYBIND_OVSDB",
}

// missetting tells what is wrong with the settings of a command, each fault in a line, and where they are to come from
// if one is missing.
func missetting(command string, err error, faults io.Writer) error {
	for fault := range strings.SplitSeq(err.Error(), "\n") {
		if name, _, _ := strings.Cut(fault, " "); slices.Contains(publishers, name) {
			fault += ": it is the publisher's"
		}
		fmt.Fprintf(faults, "earlybind %s: %s\n", command, fault)
	}
	if errors.Is(err, config.ErrRequired) || errors.Is(err, binding.ErrNoCloud) {
		fmt.Fprintf(faults, "earlybind %s: its settings are a consumer's: set -a; . /etc/earlybind/consumer.env; set +a (docs/settings.md)\n", command)
	}
	return errUsage
}

// cloudSettings reads those settings of a consumer by which a cloud is met, for a command that needs no others. A
// variable that is no setting of a consumer's is refused, as [settingsFor] does: a name that is mistyped must not leave
// another cloud in its place.
func cloudSettings(command string, faults io.Writer) (consumer.Settings, error) {
	settings := consumer.Settings{Cloud: os.Getenv("EARLYBIND_CLOUD"), OSServerName: os.Getenv(osServerName)}
	err := errors.Join(
		config.RefuseUnknown("EARLYBIND", &program.Settings{}, &consumer.Settings{}),
		broker.CheckServerName(osServerName, settings.OSServerName))
	if err != nil {
		return settings, missetting(command, err, faults)
	}
	return settings, nil
}

// osServerName is the variable with the name that the certificates of Keystone and Neutron are for.
const osServerName = "EARLYBIND_OS_SERVER_NAME"

// letIn tells of the faults of OpenStack's settings, for which nobody needs to be asked: those by which
// Neutron is asked, and those by which Nova is.
func letIn(command string, neutron, nova binding.ClientOpts, faults io.Writer) error {
	if err := binding.CheckCredentials(neutron); err != nil {
		return missetting(command, fmt.Errorf("Neutron: %w", err), faults)
	}
	if err := binding.CheckCredentials(nova); err != nil {
		return missetting(command, fmt.Errorf("Nova: %w", err), faults)
	}
	return nil
}

// unmet tells in a line that a service could not be met, and what to look at.
func unmet(service string, err error) error {
	if next := binding.Next(err); next != "" {
		return fmt.Errorf("%s: %w; %s", service, err, next)
	}
	return fmt.Errorf("%s: %w", service, err)
}

// ofCell tells in a line what is wrong with one of some cells.
func ofCell(cell string, cells int, err error) string {
	var away *broker.Away
	if errors.As(err, &away) && cells == 1 { // which names its nodes
		return broker.Told(err)
	}
	return cell + ": " + broker.Told(err)
}
