//go:build integration

package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/earlybind/earlybind/binding"
	"github.com/earlybind/earlybind/check"
	"github.com/earlybind/earlybind/consumer"
	"github.com/earlybind/earlybind/handover"
)

// wrongClock is read by Go's package time as [skewedPublisher] has it built.
const wrongClock = `package time

import "syscall"

var wrong = func() int64 {
	by, _ := syscall.Getenv("WRONG_CLOCK")
	d, _ := ParseDuration(by)
	return int64(d / Second)
}()
`

// skewedPublisher builds the publisher's program with a wall clock that is off by WRONG_CLOCK; the monotonic one is
// right. Go asks the kernel through the vDSO, where no library gets in between: so time.Now itself is another.
func skewedPublisher(t testing.TB) string {
	t.Helper()
	root, err := exec.Command("go", "env", "GOROOT").Output()
	must(t, err)
	dir := t.TempDir()
	// By another name: go replaces nothing in its module cache, where a toolchain may be.
	goroot := filepath.Join(dir, "goroot")
	must(t, os.Symlink(strings.TrimSpace(string(root)), goroot))
	replaced := filepath.Join(goroot, "src/time/time.go")
	text, err := os.ReadFile(replaced)
	must(t, err)
	const reads = "\tsec, nsec, mono := runtimeNow()\n"
	if n := strings.Count(string(text), reads); n != 1 {
		t.Fatalf("Go's time.go reads the clock %d times", n)
	}
	files := map[string]string{replaced: filepath.Join(dir, "time.go"), filepath.Join(goroot, "src/time/wrong.go"): filepath.Join(dir, "wrong.go")}
	must(t, os.WriteFile(filepath.Join(dir, "time.go"), []byte(strings.Replace(string(text), reads, reads+"\tsec += wrong\n", 1)), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "wrong.go"), []byte(wrongClock), 0o600))
	overlay, err := json.Marshal(map[string]any{"Replace": files})
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o600))
	program := filepath.Join(dir, "publisher")
	build := exec.CommandContext(t.Context(), filepath.Join(goroot, "bin/go"), "build", "-tags", "libvirt_dlopen", "-overlay", filepath.Join(dir, "overlay.json"),
		"-o", program, "github.com/earlybind/earlybind/cmd/earlybind-publisher")
	build.Env = append(build.Environ(), "CGO_ENABLED=1", "GOROOT="+goroot)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}

// emulates starts a host whose libvirtd has QEMU, without a publisher yet.
func emulates(b *ownBroker, program, host string) *ownPublisher {
	b.Helper()
	begin := "sed -i s/@UUID@/" + newUUID() + "/ /etc/libvirt/libvirtd.conf && mkdir -p /run/libvirt /var/lib/nova/instances && virtlogd -d && exec libvirtd --listen"
	args := []string{"--hostname", host, "--entrypoint", "sh", "--env", "EARLYBIND_HOST=" + host, "--env", "EARLYBIND_AMQP_USER=earlybind-" + host}
	for _, variable := range []string{"AMQP_URLS=amqp://" + b.address + "/", "AMQP_PASSWORD=" + b.password, "LIBVIRT_URI=qemu:///system", "STATE_DIR=/tmp"} {
		args = append(args, "--env", "EARLYBIND_"+variable)
	}
	p := &ownPublisher{ownBroker: b, container: startContainer(b, map[string]string{"/tmp/publisher": program}, append(args, "earlybind-lab/compute:"+b.lab.Release, "-c", begin)...)}
	b.Cleanup(func() {
		if b.Failed() {
			b.Logf("the publisher of %s wrote:\n%s", host, docker(b, "exec", p.container, "sh", "-c", "cat /tmp/log*"))
		}
	})
	eventually(b, "libvirtd of "+host, func() (bool, error) {
		return exec.CommandContext(b.Context(), "docker", "exec", p.container, "virsh", "-c", "qemu:///system", "version").Run() == nil, nil
	})
	return p
}

// with starts its publisher anew, with a clock that is off by so much.
func (p *ownPublisher) with(wrong time.Duration) {
	p.Helper()
	docker(p, "exec", p.container, "sh", "-c", "! test -e /tmp/pid || { kill $(cat /tmp/pid); while kill -0 $(cat /tmp/pid); do sleep 0.1; done; } 2>/dev/null")
	docker(p, "exec", "--detach", "--env", "WRONG_CLOCK="+wrong.String(), p.container, "sh", "-c", "echo $$ >/tmp/pid; exec /tmp/publisher >>/tmp/log 2>&1")
}

// qemu does something to the guests of its libvirtd.
func (p *ownPublisher) qemu(stdin string, args ...string) (string, error) {
	cmd := exec.CommandContext(p.Context(), "docker", append([]string{"exec", "-i", p.container, "virsh", "-q"}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// The hosts' clocks are wrong by ten minutes, each the other way, and then, as their publishers start anew, the other
// way round: of real migrations between two libvirtd the consumer decides as ever, writes nothing where a publisher is
// missing and says so once a port, and check tells of the clocks in one finding.
func TestRabbitMQPublishersClocksAreOff(t *testing.T) {
	program := skewedPublisher(t)
	t.Parallel()
	b, cloud := newOwnBroker(t), newFakeCloud(t)
	nova := b.nova(false)
	r := startReplica(b.broker, cloud.neutron, func(s *consumer.Settings) { s.Policy = handover.PolicySuspended })
	r.await("consumer.started", "outcome", "bound")
	r.await("consumer.active")
	from, to := emulates(b, program, source), emulates(b, program, dest)
	address := docker(t, "inspect", "--format", "{{.NetworkSettings.Networks.bridge.IPAddress}}", to.container)

	for _, c := range []struct {
		name   string
		clocks map[string]time.Duration // of the hosts that have a publisher
		fails  bool
	}{
		{"NoneOnTheDestination", map[string]time.Duration{source: 10 * time.Minute}, false},
		{"Migrated", map[string]time.Duration{source: 10 * time.Minute, dest: -10 * time.Minute}, false},
		{"Failed", map[string]time.Duration{source: -10 * time.Minute, dest: 10 * time.Minute}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			for host, p := range map[string]*ownPublisher{source: from, dest: to} {
				if wrong, has := c.clocks[host]; has {
					p.with(wrong)
				}
			}
			settings := checkSettings(b.url(), "earlybind", b.password)
			var facts check.BrokerFacts
			eventually(t, "every publisher to answer with its clock", func() (bool, error) {
				facts = check.AskBroker(t.Context(), settings, nil, time.Second, nil)
				right := 0
				for host, wrong := range c.clocks {
					if skew, seen := facts.Answers[host].Skew.Get(); seen && (skew-wrong).Abs() < 5*time.Second {
						right++
					}
				}
				return right == len(c.clocks), nil
			})
			found := slices.DeleteFunc(check.Judge(check.Facts{Settings: settings, Brokers: []check.BrokerFacts{facts}}), func(f check.Finding) bool { return f.ID != "clock" })
			if len(found) != 1 || found[0].Level != check.Note || len(found[0].Hosts) != len(c.clocks) {
				t.Errorf("it says of clocks: %+v", found)
			}
			t.Logf("check: %s", found[0].Saw)

			g := cloud.guest(t)
			_, err := from.qemu(fmt.Sprintf(`<domain type="qemu"><name>%s</name><uuid>%[1]s</uuid><memory unit="GiB">2</memory><os><type machine="q35">hvm</type></os>
				<metadata><nova:instance xmlns:nova="http://openstack.org/xmlns/libvirt/nova/1.1"/></metadata></domain>`, g.id), "create", "/dev/stdin")
			must(t, err)
			nova.prepares(g)
			migrated := make(chan string, 1)
			go func() { // slow: its memory is empty, which takes 5 s so
				out, err := from.qemu("", "migrate", "--live", "--bandwidth", "1", g.id, "qemu+tcp://"+address+"/system", "tcp://"+address)
				migrated <- fmt.Sprint(err, out)
			}()
			r.await("handover.armed", "instance", g.id)
			_, err = from.qemu("", "suspend", g.id) // as Nova's force-complete
			must(t, err)
			if c.clocks[dest] == 0 {
				for _, id := range g.ports {
					r.await("port.observed", "port", id, "why", "no publisher was heard on "+dest)
				}
			} else {
				for _, id := range g.ports {
					r.await("port.written", "port", id, "host", dest, "outcome", "activated")
				}
			}
			t.Logf("%s", <-migrated)
			_ = binding.Activate
		})
	}
}
