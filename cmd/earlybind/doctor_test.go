package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/earlybind/earlybind/binding"
	"github.com/earlybind/earlybind/doctor"
	"github.com/earlybind/earlybind/internal/clock"
	"github.com/earlybind/earlybind/internal/neutron"
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
		if code := run(t.Context(), strings.Fields(args), io.Discard, &faults); code != failed || !strings.Contains(faults.String(), `entry "`+want+`"`) {
			t.Errorf("%s: %d %s", args, code, &faults)
		}
	}
}

// A broker that is away is told of in a line, by all that needs one.
func TestABrokerThatIsAwayIsToldInALine(t *testing.T) {
	for name, value := range map[string]string{
		"EARLYBIND_AMQP_URLS": "amqp://127.0.0.1:1,amqp://127.0.0.1:2", "EARLYBIND_AMQP_USER": "earlybind", "EARLYBIND_AMQP_PASSWORD": "hunter2",
	} {
		t.Setenv(name, value)
	}
	const nodes = "no node of RabbitMQ could be used; 127.0.0.1:"
	for _, command := range []string{"record " + filepath.Join(t.TempDir(), "recording"), "parked", "pause -show", "pause"} {
		var faults bytes.Buffer
		if code := run(t.Context(), strings.Fields(command), io.Discard, &faults); code != failed || !strings.Contains(faults.String(), nodes) || strings.Count(faults.String(), "\n") != 1 {
			t.Errorf("%s: %d %s", command, code, &faults)
		}
	}
	settings, err := consumerSettings(io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	fake := simulated.New("compute1", "compute2")
	client := simulated.NewClient(simulated.InMemory, simulated.Transport{Handler: fake.Handler()})
	r := round{Cloud: doctor.Cloud{Neutron: neutron.New(client), Nova: compute{}, Ask: publishersOf(settings)}}
	if err := r.make(t.Context(), io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), nodes) || strings.Contains(err.Error(), "\n") {
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
