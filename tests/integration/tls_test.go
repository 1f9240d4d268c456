//go:build integration

package integration

import (
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/earlybind/earlybind/internal/tlstest"
	"github.com/earlybind/earlybind/tests/lab"
	"github.com/earlybind/earlybind/wire"
)

// tlsName is in the certificates of servers here. No URL has it.
const tlsName = "cloud.example"

// docker runs the command and gives what it prints.
func docker(t testing.TB, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(context.WithoutCancel(t.Context()), "docker", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("docker %s: %v: %s", args[0], err, out)
	}
	return strings.TrimSpace(string(out))
}

// startContainer starts a container with some files in it: the path inside, and the file here. It goes with
// the test.
func startContainer(t testing.TB, files map[string]string, args ...string) (id string) {
	t.Helper()
	id = createContainer(t, files, args...)
	docker(t, "start", id)
	return id
}

// createContainer does the same, and leaves it to be started.
func createContainer(t testing.TB, files map[string]string, args ...string) (id string) {
	t.Helper()
	id = docker(t, append([]string{"create", "--init"}, args...)...)
	t.Cleanup(func() { docker(t, "rm", "--force", "--volumes", id) })
	for inside, file := range files {
		docker(t, "cp", "--quiet", file, id+":"+inside)
	}
	return id
}

// tlsBroker is a RabbitMQ of the test's own, with the lab's users, that over TLS lets in those alone
// who show a certificate.
type tlsBroker struct {
	*broker
	container string
	secret    string // the programs' password
}

func newTLSBroker(t testing.TB, ours *tlstest.Authority) tlsBroker {
	t.Helper()
	l, err := lab.Find()
	must(t, err)
	password, err := l.Password()
	must(t, err)
	server := ours.Issue(t, tlsName)
	etc := t.TempDir()
	must(t, os.Mkdir(filepath.Join(etc, "conf.d"), 0o755))
	must(t, os.WriteFile(filepath.Join(etc, "conf.d/tls.conf"), []byte(`listeners.ssl.default = 5671
ssl_options.cacertfile = /etc/rabbitmq/ca.pem
ssl_options.certfile = /etc/rabbitmq/cert.pem
ssl_options.keyfile = /etc/rabbitmq/key.pem
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = true
`), 0o644))
	b := tlsBroker{secret: newUUID()}
	b.container = createContainer(t, map[string]string{
		"/etc/rabbitmq":        etc + "/.",
		"/etc/rabbitmq/ca.pem": ours.File, "/etc/rabbitmq/cert.pem": server.CertFile, "/etc/rabbitmq/key.pem": server.KeyFile,
	}, "--hostname", "rabbitmq", "earlybind-lab/rabbitmq:"+l.Release)
	startRabbitMQ(t, b.container, "curl", "-sfo", "/dev/null", "-u", "admin:"+password,
		"http://127.0.0.1:15672/api/health/checks/port-listener/5671")
	b.broker = &broker{
		TB: t, vhost: "%2F", password: password,
		address: docker(t, "inspect", "--format", "{{.NetworkSettings.Networks.bridge.IPAddress}}", b.container),
	}
	for _, user := range []string{"earlybind", "earlybind-" + source} {
		b.api(http.MethodPut, "users/"+user, map[string]string{"password": b.secret, "tags": ""}, nil)
	}
	return b
}

// environment are the settings of a program that comes as a user with a certificate.
func (b tlsBroker) environment(address, user string, shows tlstest.Pair, more ...string) []string {
	return append([]string{
		"EARLYBIND_AMQP_URLS=amqps://" + address + ":5671/", "EARLYBIND_AMQP_USER=" + user, "EARLYBIND_AMQP_PASSWORD=" + b.secret,
		"EARLYBIND_AMQP_CERT_FILE=" + shows.CertFile, "EARLYBIND_AMQP_KEY_FILE=" + shows.KeyFile,
	}, more...)
}

// wantSecure waits until the management shows a connection, and wants it to be over TLS, by who has that certificate.
func (b tlsBroker) wantSecure(name, subject string) {
	b.Helper()
	own := b.connection(name)
	var all []struct {
		Name     string
		Protocol string `json:"ssl_protocol"`
		Subject  string `json:"peer_cert_subject"`
		User     string
	}
	b.api(http.MethodGet, b.path("vhosts")+"/connections", nil, &all)
	for _, c := range all {
		if c.Name != own {
			continue
		}
		b.Logf("%s: %+v", name, c)
		if !strings.HasPrefix(c.Protocol, "tlsv1.") || c.Subject != subject {
			b.Errorf("%s is connected by %q as %q", name, c.Protocol, c.Subject)
		}
	}
}

func wantNoSecret(t testing.TB, secret, text string) {
	t.Helper()
	if strings.Contains(text, secret) {
		t.Errorf("the password is in:\n%s", text)
	}
}

// Both programs speak TLS with a RabbitMQ that asks for their certificate and is reached by another
// name than it has; and say in a line what is missing.
func TestRabbitMQTLS(t *testing.T) {
	consumers, publishers := built(t, "earlybind-consumer"), built(t, "earlybind-publisher")
	t.Parallel()
	ours, others := tlstest.NewAuthority(t), tlstest.NewAuthority(t)
	b := newTLSBroker(t, ours)
	own := ours.Issue(t, "consumer.example")
	ca, name := "EARLYBIND_AMQP_CA_FILE="+ours.File, "EARLYBIND_AMQP_SERVER_NAME="+tlsName

	c := startProcess(b.broker, consumers, append(newFakeCloud(t).credentials(t), b.environment(b.address, "earlybind", own, ca, name)...))
	c.await("consumer.active") // its own tick went to the broker and came back
	b.wantSecure("earlybind-consumer "+c.name, "CN=consumer.example")

	publisher := ours.Issue(t, "publisher.example")
	inside := tlstest.Pair{CertFile: "/tmp/cert.pem", KeyFile: "/tmp/key.pem"}
	args := []string{"--network", "container:" + b.container, "--entrypoint", "/tmp/publisher"}
	for _, variable := range b.environment("127.0.0.1", "earlybind-"+source, inside, name, "EARLYBIND_AMQP_CA_FILE=/tmp/ca.pem",
		"EARLYBIND_HOST="+source, "EARLYBIND_LIBVIRT_URI=test:///default", "EARLYBIND_STATE_DIR=/tmp") {
		args = append(args, "--env", variable)
	}
	l, err := lab.Find()
	must(t, err)
	container := startContainer(t, map[string]string{
		"/tmp/publisher": publishers, "/tmp/ca.pem": ours.File, "/tmp/cert.pem": publisher.CertFile, "/tmp/key.pem": publisher.KeyFile,
	}, append(args, "earlybind-lab/compute:"+l.Release)...)
	eventually(t, "the publisher to send its list", func() (bool, error) {
		return strings.Contains(docker(t, "logs", container), "host states published"), nil
	})
	b.wantSecure(wire.PublisherID(source), "CN=publisher.example")
	wantNoSecret(t, b.secret, c.text()+docker(t, "logs", container))

	for what, missing := range map[string]struct {
		environment []string
		want        string
	}{
		"Certificate":         {b.environment(b.address, "earlybind", tlstest.Pair{}, ca, name), "tls: certificate required"},
		"Authority":           {b.environment(b.address, "earlybind", own, "EARLYBIND_AMQP_CA_FILE="+others.File, name), "x509: certificate signed by unknown authority"},
		"ServerName":          {b.environment(b.address, "earlybind", own, ca), "x509: cannot validate certificate for " + b.address},
		"CertificateOfOthers": {b.environment(b.address, "earlybind", others.Issue(t, "consumer.example"), ca, name), "tls: "},
	} {
		t.Run("Without"+what, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			mine := *b.broker
			mine.TB = t
			c := startProcess(&mine, consumers, append(newFakeCloud(t).credentials(t), missing.environment...))
			line := c.await("consumer.lost")
			said, _ := line["error"].(string)
			t.Logf("after %.1f s: %s", time.Since(began).Seconds(), said)
			if !strings.Contains(said, b.address+":5671: ") || !strings.Contains(said, missing.want) {
				t.Errorf("it says %q, want %q", said, missing.want)
			}
			wantNoSecret(t, b.secret, c.text())
		})
	}
}
