package main

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/earlybind/earlybind/check"
)

// Neither Keystone nor RabbitMQ is there: what is said of each, that nothing is fit, and that
// no secret is shown. The environment is a consumer's, with the settings of every program.
func TestACheckOfACloudThatIsAway(t *testing.T) {
	for name, value := range map[string]string{
		"EARLYBIND_AMQP_URLS": "amqp://127.0.0.1:1/nova", "EARLYBIND_AMQP_USER": "earlybind", "EARLYBIND_AMQP_PASSWORD": "hunter2",
		"EARLYBIND_OTHER_CELLS": "amqp://127.0.0.1:2", "EARLYBIND_DRAIN": "25s", "EARLYBIND_HEALTH": "127.0.0.1:8642",
		"OS_CLOUD": "", "OS_AUTH_URL": "http://127.0.0.1:1/v3", "OS_USERNAME": "earlybind", "OS_PASSWORD": "hunter3",
		"OS_PROJECT_NAME": "service", "OS_USER_DOMAIN_NAME": "Default", "OS_PROJECT_DOMAIN_NAME": "Default",
	} {
		t.Setenv(name, value)
	}
	var out, faults bytes.Buffer
	if code := run(t.Context(), []string{"check", "-json", "-listen", "1s", "-tool", "kolla-ansible"}, &out, &faults); code != failed {
		t.Errorf("exit status %d", code)
	}
	var got answer
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got.Schema != 1 || got.Version != "dev" || got.Verdict != check.IsOpen || len(got.Unread) != 3 || check.Count(check.Fit, got.Findings) > 0 {
		t.Errorf("%s", &out)
	}
	brokers := map[string]bool{}
	for _, f := range got.Findings {
		if f.ID == "rabbitmq" && f.Level == check.Unknown {
			brokers[f.Broker] = true
		}
	}
	if !brokers["127.0.0.1:1/nova"] || !brokers["127.0.0.1:2"] || !slices.ContainsFunc(got.Findings, func(f check.Finding) bool { return f.ID == "keystone" }) {
		t.Errorf("%s", &out)
	}
	said := out.String() + faults.String()
	if strings.Contains(said, "hunter") || strings.Count(faults.String(), "\n") != 3 || !strings.Contains(faults.String(), "earlybind check: Neutron: ") {
		t.Errorf("%s", said)
	}

	out.Reset()
	if code := run(t.Context(), []string{"check", "-listen", "1s"}, &out, &faults); code != failed || !strings.Contains(out.String(), "\nnot known to be fit for earlybind: 0 blockers") {
		t.Errorf("%d\n%s", code, &out)
	}
}
