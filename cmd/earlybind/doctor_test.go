package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/earlybind/earlybind/binding"
	"github.com/earlybind/earlybind/consumer"
	"github.com/earlybind/earlybind/doctor"
	"github.com/earlybind/earlybind/internal/clock"
	"github.com/earlybind/earlybind/internal/config"
	"github.com/earlybind/earlybind/internal/neutron"
	"github.com/earlybind/earlybind/internal/program"
	"github.com/earlybind/earlybind/publisher"
	simulated "github.com/earlybind/earlybind/simulated/neutron"
)

const patient = "67322275-37eb-4301-9b66-d8d416b4cca1"

// compute is a Nova that has the patient on compute1.
type compute struct{}

func (compute) Hosts(context.Context) ([]string, string, error) {
	return []string{"compute1", "compute2"}, "", nil
}

func (compute) OnHost(_ context.Context, host string) ([]string, error) {
	if host == "compute1" {
		return []string{patient}, nil
	}
	return nil, nil
}

func (compute) Server(context.Context, string) (doctor.Server, error) {
	return doctor.Server{ID: patient, Host: "compute1", Status: "ACTIVE", VMState: "active", PowerState: 1}, nil
}

func (compute) Migrations(context.Context, string) ([]doctor.Migration, error) { return nil, nil }

// It works on the cloud that the consumer does, also where it asks no publisher.
func TestADoctorsCloudIsTheConsumers(t *testing.T) {
	clouds := filepath.Join(t.TempDir(), "clouds.yaml")
	if err := os.WriteFile(clouds, []byte("clouds: {}"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("OS_CLIENT_CONFIG_FILE", clouds)
	t.Setenv("OS_CLOUD", "openrc")
	t.Setenv("EARLYBIND_CLOUD", "consumers")
	for args, want := range map[string]string{"doctor": "consumers", "doctor -cloud mine": "mine"} {
		var faults bytes.Buffer
		if code := run(t.Context(), strings.Fields(args), io.Discard, &faults); code != wrongUsage || !strings.Contains(faults.String(), `entry "`+want+`"`) {
			t.Errorf("%s: %d %s", args, code, &faults)
		}
	}
}

// What is called wrongly is said before anybody is asked: a drain whose $HOST is empty is not one of all hosts.
func TestADoctorsOptionsAreChecked(t *testing.T) {
	t.Setenv("OS_CLOUD", "")
	t.Setenv("OS_AUTH_URL", "http://127.0.0.1:1/v3") // would be asked next
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"-before-migrate", ""}, "-before-migrate must not be empty"},
		{[]string{"-host", ""}, "-host must not be empty"},
		{[]string{"-host", "a b"}, `for flag -host: it must not hold spaces`},
		{[]string{"-port", "foo"}, `invalid value "foo" for flag -port: it must be a port's id, a UUID`},
		{[]string{"-port", ""}, "-port must not be empty"},
		{[]string{"-journal", "x"}, "-journal goes with -fix"},
		{[]string{"-fix", "-journal", ""}, "-journal must not be empty"},
	} {
		var out, faults bytes.Buffer
		code := run(t.Context(), append([]string{"doctor"}, c.args...), &out, &faults)
		if first, _, _ := strings.Cut(faults.String(), "\n"); code != wrongUsage || !strings.Contains(first, c.want) || out.Len() > 0 {
			t.Errorf("%q: %d %s%s", c.args, code, &out, &faults)
		}
	}
}

// A mistyped EARLYBIND_CLOUD would have another cloud mended, that of OS_CLOUD.
func TestADoctorRefusesWhatIsNoSetting(t *testing.T) {
	openrc(t)
	for name, want := range map[string]string{
		"EARLYBIND_CLUOD": "; EARLYBIND_CLOUD is", "EARLYBIND_OS_SERVERNAME": "; EARLYBIND_OS_SERVER_NAME is", "EARLYBIND_FOO": "",
		"EARLYBIND_HOST": ": it is the publisher's", "EARLYBIND_HEALTH": "fine", "EARLYBIND_AMQP_PASSWORD_FILE": "fine",
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(name, "127.0.0.1:8642")
			var faults bytes.Buffer
			code := run(t.Context(), []string{"doctor"}, io.Discard, &faults)
			if want == "fine" && code != failed || want != "fine" && (code != wrongUsage || faults.String() != "earlybind doctor: "+name+" is not a setting of this program"+want+"\n") {
				t.Errorf("%d %s", code, &faults)
			}
		})
	}
}

// A server name with white space is a fault of the settings, for those too that read few of them; all faults are named at once.
func TestAServerNameWithWhiteSpaceIsRefused(t *testing.T) {
	for _, command := range []string{"doctor", "doctor -ask", "check -listen 1s"} {
		for _, name := range []string{" ", " cloud", "cloud ", "cloud\t"} {
			openrc(t)
			t.Setenv("EARLYBIND_OS_SERVER_NAME", name)
			t.Setenv("EARLYBIND_AMQP_SERVER_NAME", name)
			t.Setenv("EARLYBIND_CLUOD", "lab")
			var faults bytes.Buffer
			code := run(t.Context(), strings.Fields(command), io.Discard, &faults)
			wants := []string{"EARLYBIND_OS_SERVER_NAME must be one host's name: it has white space\n", "EARLYBIND_CLUOD is not a setting of this program; EARLYBIND_CLOUD is\n"}
			if command != "doctor" { // which needs no broker
				wants = append(wants, "EARLYBIND_AMQP_SERVER_NAME must be one host's name: it has white space\n")
			}
			for _, want := range wants {
				if code != wrongUsage || !strings.Contains(faults.String(), want) {
					t.Errorf("%s, %q: %d %s, want %s", command, name, code, &faults, want)
				}
			}
		}
	}
}

// openrc is an environment in which Keystone is away, and RabbitMQ too.
func openrc(t *testing.T) {
	t.Helper()
	for name, value := range map[string]string{
		"EARLYBIND_AMQP_URLS": "amqp://127.0.0.1:1/nova", "EARLYBIND_AMQP_USER": "earlybind", "EARLYBIND_AMQP_PASSWORD": "hunter2",
		"OS_CLOUD": "", "OS_AUTH_URL": "http://127.0.0.1:1/v3", "OS_USERNAME": "earlybind", "OS_PASSWORD": "hunter3",
		"OS_PROJECT_NAME": "service", "OS_USER_DOMAIN_NAME": "Default", "OS_PROJECT_DOMAIN_NAME": "Default",
	} {
		t.Setenv(name, value)
	}
}

// What OpenStack's settings lack is a fault of the settings, as those of RabbitMQ are, and nobody is asked.
func TestFaultsOfOpenStacksSettingsAreFaultsOfSettings(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return filepath.Join(dir, name)
	}
	other, damaged := write("other.yaml", "clouds: {}"), write("damaged.yaml", "clouds:\n\tlab: hunter4")
	for name, c := range map[string]struct {
		env  map[string]string
		args string
		want string
	}{
		"neither":        {map[string]string{"OS_AUTH_URL": ""}, "", "Neutron: OpenStack credentials: neither OS_CLOUD nor OS_AUTH_URL is set\n" + "earlybind $: " + sourced},
		"no file":        {map[string]string{"OS_CLOUD": "lab", "OS_CLIENT_CONFIG_FILE": "/nofile"}, "", "there is no /nofile\n"},
		"damaged":        {map[string]string{"OS_CLOUD": "lab", "OS_CLIENT_CONFIG_FILE": damaged}, "", "is not what it should be line 2\n"},
		"no entry":       {map[string]string{"OS_CLOUD": "lab", "OS_CLIENT_CONFIG_FILE": other}, "", other + ": there is none of that name, it has none at all; another file is set by OS_CLIENT_CONFIG_FILE\n"},
		"Nova's entry":   {map[string]string{"OS_CLIENT_CONFIG_FILE": other}, " -nova-cloud reader", `Nova: OpenStack credentials: entry "reader" of ` + other},
		"CA":             {map[string]string{"OS_CACERT": "/nofile"}, "", "OS_CACERT: failed to open the CA cert file: open /nofile"},
		"project domain": {map[string]string{"OS_PROJECT_DOMAIN_NAME": ""}, "", "OS_PROJECT_DOMAIN_NAME"},
	} {
		for _, command := range []string{"doctor", "check -listen 1s"} {
			t.Run(command+", "+name, func(t *testing.T) {
				openrc(t)
				for name, value := range c.env {
					t.Setenv(name, value)
				}
				var out, faults bytes.Buffer
				code := run(t.Context(), strings.Fields(command+c.args), &out, &faults)
				said := faults.String()
				word, _, _ := strings.Cut(command, " ")
				want := strings.ReplaceAll(c.want, "$", word)
				if code != wrongUsage || !strings.Contains(said, want) || strings.Count(said, "earlybind "+word+": ") != 1+strings.Count(want, sourced) ||
					strings.Count(said, "\n") != strings.Count(said, "earlybind "+word+": ") || out.Len() > 0 || strings.Contains(said, "hunter") {
					t.Errorf("%d %s%s", code, &out, said)
				}
			})
		}
	}
}

// sourced is what is said where a setting is missing: where they are.
const sourced = "its settings are a consumer's: set -a; . /etc/earlybind/consumer.env; set +a (docs/settings.md)\n"

// Faults of the settings are told by who has met them, and where settings are to come from where one is missing: who has
// misspelt one has read them.
func TestFaultsOfSettingsAreToldByTheCommand(t *testing.T) {
	file := filepath.Join(t.TempDir(), "recording")
	for _, command := range []string{"check", "doctor -ask", "parked", "pause", "pause -show", "resume", "record " + file} {
		word, _, _ := strings.Cut(command, " ")
		for name, c := range map[string]struct {
			env  map[string]string
			want []string
		}{
			"missing":   {map[string]string{"EARLYBIND_AMQP_USER": ""}, []string{"EARLYBIND_AMQP_USER is required\n", sourced}},
			"misspelt":  {map[string]string{"EARLYBIND_POLICYY": "auto"}, []string{"EARLYBIND_POLICYY is not a setting of this program; EARLYBIND_POLICY is\n"}},
			"wrong":     {map[string]string{"EARLYBIND_SHARES": "0"}, []string{"EARLYBIND_SHARES must be from 1 to 32\n"}},
			"another's": {map[string]string{"EARLYBIND_HOST": "compute1", "EARLYBIND_OVSDB": "x"}, []string{"EARLYBIND_HOST is not a setting of this program: it is the publisher's\n", "EARLYBIND_OVSDB is not a setting of this program: it is the publisher's\n"}},
			"both":      {map[string]string{"EARLYBIND_AMQP_PASSWORD": "", "EARLYBIND_QEUEU": "x"}, []string{"EARLYBIND_AMQP_PASSWORD or EARLYBIND_AMQP_PASSWORD_FILE is required\n", "EARLYBIND_QEUEU is not a setting of this program; EARLYBIND_QUEUE is\n", sourced}},
		} {
			t.Run(command+", "+name, func(t *testing.T) {
				openrc(t)
				for name, value := range c.env {
					t.Setenv(name, value)
				}
				var out, faults bytes.Buffer
				code := run(t.Context(), strings.Fields(command), &out, &faults)
				prefix := "earlybind " + word + ": "
				if want := prefix + strings.Join(c.want, prefix); code != wrongUsage || faults.String() != want || out.Len() > 0 {
					t.Errorf("%d %s%s, want %s", code, &out, &faults, want)
				}
			})
		}
	}
}

// What is called the publisher's is what its settings have beside a consumer's.
func TestThePublishersSettingsAreThePublishers(t *testing.T) {
	var consumers, own []string
	for _, v := range config.Variables("EARLYBIND", &program.Settings{}, &consumer.Settings{}) {
		consumers = append(consumers, v.Name)
	}
	for _, v := range config.Variables("EARLYBIND", &publisher.Settings{}) {
		if !slices.Contains(consumers, v.Name) {
			own = append(own, v.Name)
		}
	}
	if !slices.Equal(own, publishers) {
		t.Errorf("%q, want %q", publishers, own)
	}
}

// An entry that no file has is told with those that there are, and with what names another file.
func TestAnEntryThatIsNotThereIsToldWithThoseThatAre(t *testing.T) {
	openrc(t)
	clouds := write(t, t.TempDir(), "clouds.yaml", []byte("clouds: {earlybind: {auth: {password: hunter4}}, admin: {}}"))
	t.Setenv("OS_CLIENT_CONFIG_FILE", clouds)
	for _, command := range []string{"check", "doctor"} {
		var faults bytes.Buffer
		code := run(t.Context(), []string{command, "-nova-cloud", "nope"}, io.Discard, &faults)
		want := "earlybind " + command + `: Nova: OpenStack credentials: entry "nope" of ` + clouds + `: there is none of that name, it has "admin", "earlybind"; another file is set by OS_CLIENT_CONFIG_FILE` + "\n"
		if code != wrongUsage || faults.String() != want {
			t.Errorf("%d %s, want %s", code, &faults, want)
		}
	}
}

// A Keystone that cannot be used is told in a line with what to look at, and so is a server that is none.
func TestAKeystoneThatCannotBeUsedIsToldWithWhatToLookAt(t *testing.T) {
	for name, c := range map[string]struct {
		status int // 0: nobody is there
		want   string
	}{
		"nobody": {0, "connection refused; does Keystone run there, may this host reach it, is the URL right?\n"},
		"401":    {http.StatusUnauthorized, "authenticate: 401 Unauthorized; user, password, project or domain is not right: OS_* or the entry of clouds.yaml\n"},
		"503":    {http.StatusServiceUnavailable, "authenticate: 503 Service Unavailable; does Keystone run? Its log tells why, or that of the proxy before it\n"},
		"none":   {http.StatusOK, "authenticate: what answers there is not Keystone (200, text/plain); is the URL Keystone's, with /v3?\n"},
	} {
		for _, command := range []string{"doctor", "check -listen 1s"} {
			t.Run(command+", "+name, func(t *testing.T) {
				openrc(t)
				if c.status != 0 {
					server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
						w.WriteHeader(c.status)
						_, _ = io.WriteString(w, "hello")
					}))
					defer server.Close()
					t.Setenv("OS_AUTH_URL", server.URL+"/v3")
				}
				var faults bytes.Buffer
				code := run(t.Context(), strings.Fields(command), io.Discard, &faults)
				line, _, _ := strings.Cut(faults.String(), "\n")
				if code != failed || !strings.HasSuffix(line+"\n", c.want) || strings.Contains(line, "hunter") {
					t.Errorf("%d %s, want %s", code, &faults, c.want)
				}
			})
		}
	}
}

// Who cannot reach a broker is told its node once, and what to look at.
func TestABrokerThatCannotBeReachedIsNamedOnce(t *testing.T) {
	openrc(t)
	for _, command := range []string{"pause", "pause -show", "resume", "parked", "record " + filepath.Join(t.TempDir(), "recording")} {
		var faults bytes.Buffer
		code := run(t.Context(), strings.Fields(command), io.Discard, &faults)
		if said := faults.String(); code != failed || strings.Count(said, "127.0.0.1:1") != 1 || strings.Count(said, "\n") != 1 || !strings.Contains(said, "connection refused; does RabbitMQ run there") {
			t.Errorf("%s: %d %s", command, code, said)
		}
	}
	t.Setenv("EARLYBIND_OTHER_CELLS", "amqp://127.0.0.1:2/two")
	var faults bytes.Buffer
	if code := run(t.Context(), []string{"parked"}, io.Discard, &faults); code != failed || !strings.Contains(faults.String(), "127.0.0.1:2/two: no node of RabbitMQ could be used; 127.0.0.1:2: connection refused; does RabbitMQ run there") {
		t.Errorf("%d %s", code, &faults)
	}
}

// A broker that is away is told of in a line, by all that needs one.
func TestABrokerThatIsAwayIsToldInALine(t *testing.T) {
	for name, value := range map[string]string{
		"EARLYBIND_AMQP_URLS": "amqp://127.0.0.1:1,amqp://127.0.0.1:2", "EARLYBIND_AMQP_USER": "earlybind", "EARLYBIND_AMQP_PASSWORD": "hunter2",
	} {
		t.Setenv(name, value)
	}
	isOneLine := func(said string) bool {
		for _, node := range []string{"127.0.0.1:1: connection refused", "127.0.0.1:2: connection refused"} {
			if strings.Count(said, node) != 1 {
				return false
			}
		}
		return strings.HasSuffix(said, "; does RabbitMQ run there, may this host reach it, is EARLYBIND_AMQP_URLS right?") &&
			!strings.Contains(said, "\n") && !strings.Contains(said, "dial tcp") && !strings.Contains(said, "hunter")
	}
	for _, command := range []string{"record " + filepath.Join(t.TempDir(), "recording"), "parked", "pause -show", "pause"} {
		var faults bytes.Buffer
		if code := run(t.Context(), strings.Fields(command), io.Discard, &faults); code != failed || !isOneLine(strings.TrimSuffix(faults.String(), "\n")) {
			t.Errorf("%s: %d %s", command, code, &faults)
		}
	}
	settings, err := settingsFor("doctor", io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	fake := simulated.New("compute1", "compute2")
	client := simulated.NewClient(simulated.InMemory, simulated.Transport{Handler: fake.Handler()})
	r := round{Cloud: doctor.Cloud{Neutron: neutron.New(client), Nova: compute{}, Ask: publishersOf(settings)}}
	if err := r.make(t.Context(), io.Discard, io.Discard); err == nil || !isOneLine(err.Error()) {
		t.Errorf("doctor -ask: %v", err)
	}
}

// A host that Nova does not name has nothing in its way, and nothing at all.
func TestADrainOfAHostThatNovaDoesNotNameIsAFault(t *testing.T) {
	for name, want := range map[string]string{"Compute1": "is it compute1?", "compute1.example.org": "is it compute1?", "compute9": `no compute host "compute9"`} {
		fake := simulated.New("compute1", "compute2")
		id := fake.AddPort(simulated.PortOpts{DeviceID: patient, Status: binding.PortActive})
		fake.PutRow(id, binding.Binding{Host: "compute1", Status: binding.StatusActive, VIFType: "ovs", VNICType: "normal"})
		client := simulated.NewClient(simulated.InMemory, simulated.Transport{Handler: fake.Handler()})
		r := round{Cloud: doctor.Cloud{Neutron: neutron.New(client), Nova: compute{}}, leaving: name}
		if err := r.make(t.Context(), io.Discard, io.Discard); err == nil || errors.Is(err, errNotRight) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// In JSON standard output is one document, whatever is done meanwhile; exit codes are those
// of the text.
func TestADoctorsRoundAsJSON(t *testing.T) {
	for _, c := range []struct {
		name       string
		round      round
		wrong      int // in the report
		mended     int
		cutShort   bool
		outcome    error
		progresses bool
	}{
		{"found", round{}, 1, 0, false, errNotRight, false},
		{"of a host", round{leaving: "compute1"}, 1, 0, false, errNotRight, false},
		{"of another host", round{leaving: "compute2"}, 0, 0, false, nil, false},
		{"mended", round{fix: true}, 1, 1, false, nil, true},
		{"cut short", round{fix: true}, 1, 0, true, context.Canceled, true},
	} {
		for _, asJSON := range []bool{true, false} {
			synctest.Test(t, func(t *testing.T) {
				fake := simulated.New("compute1", "compute2")
				fake.AutoWire(true)
				id := fake.AddPort(simulated.PortOpts{DeviceID: patient, Status: binding.PortActive})
				fake.PutRow(id, binding.Binding{Host: "compute1", Status: binding.StatusActive, VIFType: "ovs", VNICType: "normal"})
				fake.PutRow(id, binding.Binding{Host: "compute2", Status: binding.StatusInactive, VIFType: "unbound", VNICType: "normal"})
				notes, err := doctor.OpenNotes(filepath.Join(t.TempDir(), "undo.jsonl"), time.Now)
				if err != nil {
					t.Fatal(err)
				}
				defer notes.Close()
				client := simulated.NewClient(simulated.InMemory, simulated.Transport{Handler: fake.Handler()})
				r := c.round
				r.Cloud = doctor.Cloud{Neutron: neutron.New(client), Nova: compute{}, Clock: clock.Real(), Notes: notes}
				r.asJSON = asJSON
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if c.cutShort {
					time.AfterFunc(doctor.Patience/2, cancel)
				}
				var out, faults bytes.Buffer
				if err := r.make(ctx, &out, &faults); !errors.Is(err, c.outcome) || (err == nil) != (c.outcome == nil) {
					t.Errorf("%s, JSON %t: %v, want %v", c.name, asJSON, err, c.outcome)
				}
				if !asJSON {
					if faults.Len() > 0 || !strings.Contains(out.String(), "2 hosts, ") || c.progresses != strings.Contains(out.String(), "looking again") {
						t.Errorf("%s: %s%s", c.name, &out, &faults)
					}
					return
				}
				var report struct {
					Wrong  int
					Mended []any
				}
				if err := json.Unmarshal(out.Bytes(), &report); err != nil || report.Wrong != c.wrong || len(report.Mended) != c.mended {
					t.Errorf("%s: %v: %s", c.name, err, &out)
				}
				if c.progresses != strings.Contains(faults.String(), "looking again") {
					t.Errorf("%s: said meanwhile: %s", c.name, &faults)
				}
			})
		}
	}
}
