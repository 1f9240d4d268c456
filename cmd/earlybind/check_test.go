package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
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
	for _, node := range []string{"127.0.0.1:1", "127.0.0.1:2"} {
		if want := "\nRabbitMQ: " + node + ": connection refused; does RabbitMQ run there, may this host reach it, is EARLYBIND_AMQP_URLS right?\n"; !strings.Contains(faults.String(), want) {
			t.Errorf("%s, want %s", &faults, want)
		}
		if want := `"RabbitMQ could not be asked: ` + node + `: connection refused"`; !strings.Contains(out.String(), want) {
			t.Errorf("%s, want %s", &out, want)
		}
	}
	if !strings.Contains(out.String(), `"text": "does RabbitMQ run there`) {
		t.Errorf("%s", &out)
	}

	out.Reset()
	if code := run(t.Context(), []string{"check", "-listen", "1s"}, &out, &faults); code != failed || !strings.Contains(out.String(), "\nnot known to be fit for earlybind: 0 blockers") {
		t.Errorf("%d\n%s", code, &out)
	}
}

// A file that holds no password is an option that is wrong, as others are: nobody is asked.
func TestAManagementPasswordFileThatIsNone(t *testing.T) {
	openrc(t)
	dir := t.TempDir()
	for file, want := range map[string]string{
		filepath.Join(dir, "missing"):          "-management-password-file: open " + filepath.Join(dir, "missing") + ": no such file or directory\n",
		dir:                                    "-management-password-file: read " + dir + ": is a directory\n",
		write(t, dir, "empty", nil):            "-management-password-file: " + filepath.Join(dir, "empty") + " is empty\n",
		write(t, dir, "newline", []byte("\n")): "-management-password-file: " + filepath.Join(dir, "newline") + " is empty\n",
	} {
		var out, faults bytes.Buffer
		code := run(t.Context(), []string{"check", "-listen", "1s", "-management", "http://127.0.0.1:1", "-management-user", "u", "-management-password-file", file}, &out, &faults)
		if code != wrongUsage || faults.String() != "earlybind check: "+want+"How it is called: earlybind check -h\n" || out.Len() > 0 {
			t.Errorf("%s: %d %s%s", file, code, &out, &faults)
		}
	}
}

// A load balancer whose server is away answers with a page of its own: what it has answered is told
// in a line that names who was asked, and the page is not.
func TestAPageOfAProxysIsToldInALine(t *testing.T) {
	const page = "<html>\n<head><title>503 Service Unavailable</title></head>\n<body>No server is available.</body>\n</html>\n"
	for _, c := range []struct {
		away    string // who does not answer
		command string
		want    string // part of what is said, $ being the server
	}{
		{"/v3/auth/tokens", "doctor", `earlybind doctor: Neutron: user "earlybind", project "service", auth URL "$/v3": authenticate: 503 Service Unavailable`},
		{"/network/", "doctor", `earlybind doctor: Neutron: region "", interface "public": find neutron: 503 Service Unavailable`},
		{"/compute/", "doctor", `earlybind doctor: Nova: region "", interface "public": GET $/compute/: 503 Service Unavailable`},
		{"/v3/auth/tokens", "check", `earlybind check: Neutron: user "earlybind", project "service", auth URL "$/v3": authenticate: 503 Service Unavailable`},
		{"/network/", "check", `earlybind check: Neutron: region "", interface "public": find neutron: 503 Service Unavailable`},
		{"/two/network/", "check -nova-cloud two", `was not seen: region "RegionTwo", interface "public": GET $/two/network/: 503 Service Unavailable`},
		{"/compute/", "check", `were not listed: region "", interface "public": GET $/compute/: 503 Service Unavailable`},
		{"/compute/", "check -json", `were not listed: region \"\", interface \"public\": GET $/compute/: 503 Service Unavailable`},
	} {
		t.Run(c.command+", away: "+c.away, func(t *testing.T) {
			mux := http.NewServeMux()
			server := httptest.NewServer(mux)
			defer server.Close()
			mux.HandleFunc(c.away, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusServiceUnavailable)
				_, _ = io.WriteString(w, page)
			})
			if c.away != "/v3/auth/tokens" {
				mux.HandleFunc("POST /v3/auth/tokens", func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("X-Subject-Token", "token")
					w.Header().Set("Content-Type", "application/json")
					w.WriteHeader(http.StatusCreated)
					_ = json.NewEncoder(w).Encode(tokenOf(server.URL))
				})
			}
			if c.away != "/network/" {
				mux.HandleFunc("/network/{$}", func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Content-Type", "application/json")
					_, _ = io.WriteString(w, `{"versions": [{"id": "v2.0", "status": "CURRENT", "links": []}]}`)
				})
			}
			for name, value := range map[string]string{
				"EARLYBIND_AMQP_URLS": "amqp://127.0.0.1:1/nova", "EARLYBIND_AMQP_USER": "earlybind", "EARLYBIND_AMQP_PASSWORD": "hunter2",
				"OS_CLOUD": "", "OS_AUTH_URL": server.URL + "/v3", "OS_USERNAME": "earlybind", "OS_PASSWORD": "hunter3", "OS_REGION_NAME": "",
				"OS_PROJECT_NAME": "service", "OS_USER_DOMAIN_NAME": "Default", "OS_PROJECT_DOMAIN_NAME": "Default",
			} {
				t.Setenv(name, value)
			}
			clouds := filepath.Join(t.TempDir(), "clouds.yaml")
			entry := "clouds: {two: {region_name: RegionTwo, auth: {auth_url: " + server.URL + "/v3, username: u, password: p, project_name: service, user_domain_name: Default, project_domain_name: Default}}}"
			if err := os.WriteFile(clouds, []byte(entry), 0o600); err != nil {
				t.Fatal(err)
			}
			t.Setenv("OS_CLIENT_CONFIG_FILE", clouds)
			args := strings.Fields(c.command)
			if args[0] == "check" {
				args = append(args, "-listen", "1s")
			}
			var out, faults bytes.Buffer
			if code := run(t.Context(), args, &out, &faults); code != failed {
				t.Errorf("exit status %d", code)
			}
			said := out.String() + faults.String()
			want := strings.ReplaceAll(c.want, "$", server.URL)
			if !strings.Contains(strings.Join(strings.Fields(said), " "), want) || strings.Contains(said, "<") {
				t.Errorf("%s, want %s", said, want)
			}
			if c.command == "doctor" && strings.Count(said, "\n") != 1 {
				t.Errorf("more than a line: %s", said)
			}
		})
	}
}

// tokenOf is Keystone's answer for a cloud whose services are all at one address.
func tokenOf(url string) map[string]any {
	var catalog []any
	for _, service := range []string{"network", "compute"} {
		catalog = append(catalog, map[string]any{"type": service, "name": service, "endpoints": []any{
			map[string]any{"interface": "public", "region": "RegionOne", "region_id": "RegionOne", "url": url + "/" + service},
			map[string]any{"interface": "public", "region": "RegionTwo", "region_id": "RegionTwo", "url": url + "/two/" + service},
		}})
	}
	domain := map[string]any{"id": "default", "name": "Default"}
	return map[string]any{"token": map[string]any{
		"expires_at": "2126-11-23T06:00:00.000000Z", "issued_at": "2026-11-23T05:00:00.000000Z", "catalog": catalog,
		"user":    map[string]any{"id": "u", "name": "earlybind", "domain": domain},
		"project": map[string]any{"id": "p", "name": "service", "domain": domain},
		"roles":   []any{map[string]any{"id": "r", "name": "service"}},
	}}
}
