//go:build integration

package integration

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// ownPublisher is the publisher's program in a container of its own beside a broker, as the publisher of
// the host source.
type ownPublisher struct {
	*ownBroker
	container string
}

// inProcess is libvirt's test driver without a daemon: nobody else can do anything to its domains. Of inDaemon
// a libvirtd has the domains, which virsh can change too; they go with the last connection.
const (
	inProcess = "test:///default"
	inDaemon  = "test+unix:///default"
)

const libvirtdConf = `auth_unix_rw = "none"
auth_unix_ro = "none"
host_uuid_source = "machine-id"
`

func (b *ownBroker) publisher(libvirt string, environment ...string) *ownPublisher {
	b.Helper()
	program := built(b, "earlybind-publisher")
	conf := filepath.Join(b.TempDir(), "libvirtd.conf")
	must(b, os.WriteFile(conf, []byte(libvirtdConf), 0o644))
	args := []string{"--network", b.network}
	for _, variable := range append([]string{
		"EARLYBIND_HOST=" + source, "EARLYBIND_AMQP_URLS=amqp://127.0.0.1/", "EARLYBIND_AMQP_USER=earlybind-" + source,
		"EARLYBIND_AMQP_PASSWORD=" + b.password, "EARLYBIND_LIBVIRT_URI=" + libvirt, "EARLYBIND_STATE_DIR=/tmp", "EARLYBIND_HEALTH=:8642",
	}, environment...) {
		args = append(args, "--env", variable)
	}
	begin := "exec /tmp/publisher"
	if libvirt == inDaemon {
		begin = "libvirtd --daemon --config /tmp/libvirtd.conf && " + begin // it returns when it listens
	}
	args = append(args, "--entrypoint", "sh", "earlybind-lab/compute:"+b.lab.Release, "-c", begin)
	p := &ownPublisher{ownBroker: b, container: startContainer(b, map[string]string{"/tmp/publisher": program, "/tmp/libvirtd.conf": conf}, args...)}
	b.Cleanup(func() {
		if b.Failed() {
			b.Logf("the publisher wrote:\n%s", p.log())
		}
	})
	return p
}

func (p *ownPublisher) log() string { return docker(p, "logs", p.container) }

// await waits for a message in its log.
func (p *ownPublisher) await(message string) {
	p.Helper()
	eventually(p, "the publisher to say: "+message, func() (bool, error) { return strings.Contains(p.log(), message), nil })
}

// wantHealth waits until it lives, and is ready or not, with a line that begins so.
func (p *ownPublisher) wantHealth(limit time.Duration, ready bool, line string) {
	p.Helper()
	wantHealth(p, limit, "http://"+p.address+":8642", ready, line)
}

// virsh does something to the domains of the daemon.
func (p *ownPublisher) virsh(stdin string, args ...string) {
	p.Helper()
	cmd := exec.CommandContext(p.Context(), "docker", append([]string{"exec", "-i", p.container, "virsh", "-q", "-c", inDaemon}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		p.Fatalf("virsh %s: %v: %s", args[0], err, out)
	}
}

// boots starts a guest of Nova's.
func (p *ownPublisher) boots(instance string) {
	p.Helper()
	p.virsh(`<domain type="test"><name>`+instance+`</name><uuid>`+instance+`</uuid><memory>1024</memory><os><type>hvm</type></os>
		<metadata><nova:instance xmlns:nova="http://openstack.org/xmlns/libvirt/nova/1.1"><nova:name>guest</nova:name></nova:instance></metadata></domain>`,
		"define", "/dev/stdin")
	p.virsh("", "start", instance)
}

// signal sends a signal, as docker stop does.
func (p *ownPublisher) signal(name string) {
	p.Helper()
	docker(p, "kill", "--signal", name, p.container)
}

// ended waits until it has ended, and gives its exit code, and when that was.
func (p *ownPublisher) ended() (code int, at time.Time) {
	p.Helper()
	eventually(p, "the publisher to end", func() (bool, error) {
		var status, finished string
		_, err := fmt.Sscan(docker(p, "inspect", "--format", "{{.State.Status}} {{.State.ExitCode}} {{.State.FinishedAt}}", p.container), &status, &code, &finished)
		if err != nil || status != "exited" {
			return false, err
		}
		at, err = time.Parse(time.RFC3339Nano, finished)
		return true, err
	})
	return code, at
}

// ask asks a program's health.
func ask(url string) (status int, body string, err error) {
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get(url)
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(answer.Body)
	return answer.StatusCode, string(raw), err
}

// wantHealth waits until the program at a URL lives, and is ready or not, with a line that begins so.
func wantHealth(t testing.TB, limit time.Duration, url string, ready bool, line string) {
	t.Helper()
	want := map[bool]int{true: http.StatusOK, false: http.StatusServiceUnavailable}[ready]
	last := ""
	within(t, limit, url+" to be ready: "+strconv.FormatBool(ready)+", "+line, func() (bool, error) {
		status, body, err := ask(url + "/ready")
		if err != nil {
			last = err.Error()
			return false, nil // it does not listen yet
		}
		if body != last {
			last = body
			t.Logf("%s: %d %s", url, status, strings.ReplaceAll(body, "\n", "; "))
		}
		return status == want && strings.Contains("\n"+body, "\n"+line), nil
	})
	if status, body, err := ask(url + "/live"); err != nil || status != http.StatusOK {
		t.Errorf("live: %d %q, %v", status, body, err)
	}
}
