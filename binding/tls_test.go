package binding_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	th "github.com/gophercloud/gophercloud/v2/testhelper"

	"github.com/earlybind/earlybind/binding"
	"github.com/earlybind/earlybind/internal/tlstest"
)

// Keystone and Neutron behind TLS that asks for a client's certificate, under a name that no URL
// has: with what the OS_* variables or clouds.yaml name, and with a line without it.
func TestTLS(t *testing.T) {
	const name = "cloud.example"
	ours, others := tlstest.NewAuthority(t), tlstest.NewAuthority(t)
	own, strange := ours.Issue(t, "earlybind"), others.Issue(t, "earlybind")
	server := ours.Issue(t, name)
	for what, c := range map[string]struct {
		ca         string
		client     tlstest.Pair
		serverName string
		want       string // of the error; empty: none
	}{
		"all":                       {ours.File, own, name, ""},
		"another authority":         {others.File, own, name, "certificate signed by unknown authority"},
		"no authority":              {"", own, name, "certificate signed by unknown authority"},
		"no client's certificate":   {ours.File, tlstest.Pair{}, name, "tls: certificate required"},
		"one of another authority":  {ours.File, strange, name, "remote error: tls: "},
		"no server name":            {ours.File, own, "", "x509: cannot validate certificate for 127.0.0.1"},
		"another server name":       {ours.File, own, "neutron.example", "x509: certificate is valid for cloud.example, not neutron.example"},
		"no file":                   {"/nonexistent/ca.pem", own, name, "open /nonexistent/ca.pem: no such file"},
		"a file that is none":       {os.DevNull, own, name, `failed to parse the CA Cert from "/dev/null"`},
		"a certificate without key": {ours.File, tlstest.Pair{CertFile: own.CertFile}, name, "client cert key is missing"},
		"the key of another":        {ours.File, tlstest.Pair{CertFile: own.CertFile, KeyFile: strange.KeyFile}, name, "private key does not match public key"},
	} {
		for _, inFile := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, in clouds.yaml: %t", what, inFile), func(t *testing.T) {
				cloud := newTLSCloud(t, &tls.Config{
					Certificates: []tls.Certificate{server.Certificate}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ours.Pool(t),
				})
				if inFile {
					entry := cloudsYAML(cloud, "password: "+`"`+secret+`"`)
					for key, value := range map[string]string{"cacert": c.ca, "cert": c.client.CertFile, "key": c.client.KeyFile} {
						if value != "" {
							entry += "    " + key + ": " + value + "\n"
						}
					}
					t.Setenv("OS_CLOUD", "lab")
					t.Setenv("OS_CLIENT_CONFIG_FILE", file(t, "clouds.yaml", entry))
				} else {
					env(t, cloud, map[string]string{"OS_CACERT": c.ca, "OS_CERT": c.client.CertFile, "OS_KEY": c.client.KeyFile})
				}
				client, err := binding.NewClient(t.Context(), binding.ClientOpts{Region: "RegionOne", ServerName: c.serverName})
				if c.want != "" {
					if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), secret) {
						t.Errorf("error: %v\n want: %s", err, c.want)
					}
					return
				}
				th.AssertNoErr(t, err)
				if !strings.HasPrefix(client.Endpoint, "https://127.0.0.1:") {
					t.Errorf("Neutron at %s", client.Endpoint)
				}
				th.AssertNoErr(t, binding.List(t.Context(), client, portID).Err)
			})
		}
	}
}

// A connection that is made anew goes on with the session of an earlier one.
func TestTLSSessionsAreResumed(t *testing.T) {
	ours := tlstest.NewAuthority(t)
	server := ours.Issue(t, "cloud.example")
	var resumed atomic.Int32
	cloud := newTLSCloud(t, &tls.Config{
		Certificates: []tls.Certificate{server.Certificate},
		VerifyConnection: func(c tls.ConnectionState) error {
			if c.DidResume {
				resumed.Add(1)
			}
			return nil
		},
	})
	env(t, cloud, map[string]string{"OS_CACERT": ours.File})
	client, err := binding.NewClient(t.Context(), binding.ClientOpts{Region: "RegionOne", ServerName: "cloud.example"})
	th.AssertNoErr(t, err)
	client.HTTPClient.CloseIdleConnections()
	before := resumed.Load()
	th.AssertNoErr(t, binding.List(t.Context(), client, portID).Err)
	if resumed.Load() != before+1 {
		t.Error("not resumed")
	}
}

// OS_CACERT, OS_CERT and OS_KEY come before an entry's, as with the openstack command.
func TestTheVariablesForTLSComeBeforeCloudsYAML(t *testing.T) {
	ours := tlstest.NewAuthority(t)
	own, server := ours.Issue(t, "earlybind"), ours.Issue(t, "cloud.example")
	cloud := newTLSCloud(t, &tls.Config{
		Certificates: []tls.Certificate{server.Certificate}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ours.Pool(t),
	})
	away := filepath.Join(t.TempDir(), "away")
	entry := cloudsYAML(cloud, `password: "in yaml"`) + fmt.Sprintf("    cacert: %s\n    cert: %[1]s\n    key: %[1]s\n", away)
	t.Setenv("OS_CLIENT_CONFIG_FILE", file(t, "clouds.yaml", entry))
	for name, value := range map[string]string{"OS_CACERT": ours.File, "OS_CERT": own.CertFile, "OS_KEY": own.KeyFile} {
		t.Setenv(name, value)
	}
	_, err := binding.NewClient(t.Context(), binding.ClientOpts{Cloud: "lab", ServerName: "cloud.example"})
	th.AssertNoErr(t, err)
}

// newTLSCloud is [newCloud] over TLS.
func newTLSCloud(t *testing.T, config *tls.Config) *cloud {
	t.Helper()
	c := newCloud(t)
	handler := c.Config.Handler
	c.Close()
	c.Server = httptest.NewUnstartedServer(handler)
	c.TLS, c.Config.ErrorLog = config, log.New(io.Discard, "", 0) // of refused handshakes
	c.StartTLS()
	t.Cleanup(c.Close)
	return c
}
