package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/earlybind/earlybind/binding"
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
		return settings, missetting(err, faults)
	}
	return settings, nil
}

// missetting tells what is wrong with the settings, and where they are to come from.
func missetting(err error, faults io.Writer) error {
	fmt.Fprintf(faults, "%v\nThese are a consumer's settings: set -a; . /etc/earlybind/consumer.env; set +a (docs/settings.md)\n", err)
	return errUsage
}

// knownNames refuses a variable that is no setting of a consumer's, as [consumerSettings] does, for
// who needs few of them: a name that is mistyped must not leave another cloud in its place.
func knownNames(faults io.Writer) error {
	var known []string
	for _, v := range config.Variables("EARLYBIND", &program.Settings{}, &consumer.Settings{}) {
		known = append(known, v.Name)
	}
	var unknown []error
	environ := os.Environ()
	slices.Sort(environ)
	for _, pair := range environ {
		if name, _, _ := strings.Cut(pair, "="); strings.HasPrefix(name, "EARLYBIND_") && !slices.Contains(known, name) {
			unknown = append(unknown, fmt.Errorf("%s is not a setting of this program", name))
		}
	}
	if len(unknown) > 0 {
		return missetting(errors.Join(unknown...), faults)
	}
	return nil
}

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

// dialled is what names a node twice: this program's word for it, and Go's.
var dialled = regexp.MustCompile(`(\S+): dial tcp (\S+): `)

// ofCell tells in a line what is wrong with one of some cells. A broker that cannot be reached is named
// once, by its node, with what to look at.
func ofCell(cell string, cells int, err error) string {
	said := dialled.ReplaceAllStringFunc(oneLine(err), func(twice string) string {
		if m := dialled.FindStringSubmatch(twice); m[1] == m[2] {
			return m[1] + ": "
		}
		return twice
	})
	var unreached *net.OpError
	if !errors.As(err, &unreached) || unreached.Op != "dial" {
		return cell + ": " + said
	}
	const next = "; does RabbitMQ run there, may this host reach it, is EARLYBIND_AMQP_URLS right?"
	if cells > 1 {
		return cell + ": " + said + next
	}
	return said + next
}
