package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"

	"github.com/earlybind/earlybind/binding"
	"github.com/earlybind/earlybind/check"
	"github.com/earlybind/earlybind/consumer"
	"github.com/earlybind/earlybind/internal/config"
)

const aboutCheck = `Reads a cloud and says what of it is fit for earlybind and what is not, with the setting that changes it for
kolla-ansible, openstack-ansible, openstack-helm and a plain nova.conf. What could not be seen is said to be unknown.
Nothing is changed: to Neutron goes one write, that of a consumer that is to write, at its start (a binding for a random
port id, which it refuses one way or the other); at RabbitMQ it uses queues of its own, which go when it ends, and asks the
publishers for their domains, as a consumer does that becomes active.

  set -a; . /etc/earlybind/consumer.env; set +a
  earlybind check                              all that the consumer's credentials show
  earlybind check -tool kolla-ansible          kolla's settings alone
  earlybind check -listen 5m                   while something migrates: who sends notifications
  earlybind check -management http://rabbit1:15672 -management-user admin -management-password-file FILE -json
  OS_CLIENT_CONFIG_FILE=/root/earlybind-clouds.yaml earlybind check -nova-cloud nova-reader    compute hosts too

Its settings are the consumer's (docs/settings.md); those of Neutron too. Nova is read with -nova-cloud, else with
Neutron's credentials: its version everybody may see, its hosts need a right. docs/doctor.md makes that file and its
entry nova-reader; an administrator's entry shows Neutron's agents, too. docs/check.md explains every finding.
Exit status: 0 no blocker was seen; 1 Neutron or a broker could not be read; 2 wrong options or settings; 3 a blocker.`

// answer is a check as machines read it.
type answer struct {
	Schema   int             `json:"schema"`
	Version  string          `json:"version"`
	At       time.Time       `json:"at"`
	Verdict  check.Verdict   `json:"verdict"`
	Unread   []string        `json:"unread"` // what could not be asked at all
	Findings []check.Finding `json:"findings"`
}

func checkCloud(ctx context.Context, args []string, out, faults io.Writer) error {
	f := flag.NewFlagSet("check", flag.ContinueOnError)
	novaCloud := f.String("nova-cloud", "", "`ENTRY` of clouds.yaml for Nova, and for Neutron's agents; the consumer's credentials if empty")
	listen := f.Duration("listen", 10*time.Second, "for how long notifications are listened to, and a message is kept")
	tool := f.String("tool", "", "tell the settings of one `TOOL` alone: "+strings.Join(check.Tools, ", "))
	asJSON := f.Bool("json", false, "print JSON")
	var management []string
	f.Func("management", "`URL` of RabbitMQ's management API, http://host:15672; for further cells again, in their order", func(url string) error {
		management = append(management, url)
		return check.Management{URL: url}.CheckURL()
	})
	user := f.String("management-user", "", "its `USER`, with the tag management or more; EARLYBIND_AMQP_USER if empty")
	file := f.String("management-password-file", "", "`FILE` with that user's password; EARLYBIND_AMQP_PASSWORD if empty")
	words, err := parseFiles(f, aboutCheck, "", args, faults)
	switch {
	case err != nil:
		return err
	case len(words) > 0:
		return misused(f, faults, "it takes options only")
	case *tool != "" && !slices.Contains(check.Tools, *tool):
		return misused(f, faults, "-tool must be one of "+strings.Join(check.Tools, ", "))
	case *listen < time.Second || *listen > time.Hour:
		return misused(f, faults, "-listen must be at least 1s and at most 1h")
	case len(management) == 0 && (*user != "" || *file != ""):
		return misused(f, faults, "-management-user and -management-password-file go with -management")
	case (*user == "") != (*file == ""):
		return misused(f, faults, "-management-user and -management-password-file go together")
	}
	settings, err := settingsFor("check", faults)
	if err != nil {
		return err
	}
	cells := settings.PerCell()
	if len(management) > len(cells) {
		return misused(f, faults, fmt.Sprintf("-management is given %d times, and there are %d cells", len(management), len(cells)))
	}
	apis, err := managementOf(settings, management, *user, *file)
	if err != nil {
		return misused(f, faults, err.Error())
	}
	if err := letIn("check", neutronOf(settings), novaOf(settings, *novaCloud), faults); err != nil {
		return err
	}

	cloud := cloudToCheck(ctx, settings, *novaCloud, *listen, apis)
	facts := cloud.Gather(ctx)
	if ctx.Err() != nil {
		return errors.New("it was interrupted")
	}
	findings := check.For(*tool, check.Judge(facts))
	unread := facts.Unread()
	if *asJSON {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		encoder.SetEscapeHTML(false)
		err = encoder.Encode(answer{1, version, time.Now().UTC(), check.Judgement(findings, unread), append([]string{}, unread...), findings})
	} else {
		_, err = io.WriteString(out, check.Text(findings, unread))
	}
	switch {
	case err != nil:
		return err
	case check.Count(check.Blocker, findings) > 0:
		return errNotRight
	case len(unread) > 0:
		return errors.New(strings.Join(unread, "\n"))
	}
	return nil
}

// managementOf gives the management APIs of the cells, as far as they were named. It fails where the file with their
// password is none.
func managementOf(s consumer.Settings, urls []string, user, file string) ([]check.Management, error) {
	if len(urls) == 0 {
		return nil, nil
	}
	password := s.AMQPPassword
	if file != "" {
		raw, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("-management-password-file: %w", err)
		}
		if password = config.Secret(strings.TrimRight(string(raw), "\r\n")); password == "" {
			return nil, fmt.Errorf("-management-password-file: %s is empty", file)
		}
	}
	tls, err := s.TLS()
	if err != nil {
		return nil, err
	}
	var apis []check.Management
	for _, url := range urls {
		apis = append(apis, check.Management{URL: url, User: cmp.Or(user, s.AMQPUser), Password: password, TLS: tls.Clone()})
	}
	return apis, nil
}

// neutronOf and novaOf are how the cloud of the settings is asked.
func neutronOf(s consumer.Settings) binding.ClientOpts {
	return binding.ClientOpts{Cloud: s.Cloud, ServerName: s.OSServerName, Version: version}
}

func novaOf(s consumer.Settings, entry string) binding.ClientOpts {
	return binding.ClientOpts{Cloud: cmp.Or(entry, s.Cloud), OwnSecret: entry != "", ServerName: s.OSServerName, Version: version}
}

// cloudToCheck gives the cloud of the settings.
func cloudToCheck(ctx context.Context, s consumer.Settings, novaCloud string, listen time.Duration, apis []check.Management) check.Cloud {
	own := rightsOfConsumers(s.AMQPUser, s.Queue, s.NovaExchange)
	type met struct {
		provider *gophercloud.ProviderClient
		endpoint gophercloud.EndpointOpts
	}
	nova := sync.OnceValues(func() (met, error) {
		provider, endpoint, err := binding.NewProvider(ctx, novaOf(s, novaCloud))
		return met{provider, endpoint}, err
	})
	return check.Cloud{
		Settings: s, Listen: listen,
		Rights: check.Permissions{Configure: own.configure, Write: own.write, Read: own.read},
		Neutron: func(ctx context.Context) (check.Neutron, error) {
			client, err := binding.NewClient(ctx, neutronOf(s))
			if err != nil {
				return nil, err
			}
			return check.NewNeutron(client), nil
		},
		Nova: func(context.Context) (check.Nova, error) {
			m, err := nova()
			if err != nil {
				return nil, err
			}
			client, err := serviceOf(m.provider, m.endpoint, openstack.NewComputeV2)
			if err != nil {
				return nil, err
			}
			return check.NewNova(client), nil
		},
		Agents: func(context.Context) (check.AgentLister, error) {
			m, err := nova()
			if err != nil {
				return nil, err
			}
			client, err := serviceOf(m.provider, m.endpoint, openstack.NewNetworkV2)
			if err != nil {
				return nil, err
			}
			return check.NewAgents(client), nil
		},
		Broker: func(ctx context.Context, cell consumer.Settings, hosts []string) check.BrokerFacts {
			var api *check.Management
			for i, c := range s.PerCell() {
				if i < len(apis) && c.AMQPUrls.String() == cell.AMQPUrls.String() {
					api = &apis[i]
				}
			}
			return check.AskBroker(ctx, cell, hosts, listen, api)
		},
	}
}

// serviceOf finds a service in the catalog. Where its endpoint names no version gophercloud asks for
// them, and quotes all of an answer that it did not expect: a proxy's page, mostly.
func serviceOf(provider *gophercloud.ProviderClient, endpoint gophercloud.EndpointOpts,
	find func(*gophercloud.ProviderClient, gophercloud.EndpointOpts) (*gophercloud.ServiceClient, error),
) (*gophercloud.ServiceClient, error) {
	client, err := find(provider, endpoint)
	if err != nil {
		return nil, fmt.Errorf("region %q, interface %q: %w", endpoint.Region, endpoint.Availability, binding.Brief(err))
	}
	return client, nil
}
