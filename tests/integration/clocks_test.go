//go:build integration

package integration

import (
	"encoding/json"
	"fmt"
	"maps"
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
			b.Logf("the publisher of %s wrote:\n%s", host, docker(b, "exec", p.container, "sh", "-c", "cat /tmp/log || true"))
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
func (p *ownPublisher) qemu(stdin string, args ...string) error {
	cmd := exec.CommandContext(p.Context(), "docker", append([]string{"exec", "-i", p.container, "virsh", "-q"}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("virsh %s: %w: %s", args[0], err, out)
	}
	return nil
}

// The hosts' clocks are wrong by ten minutes, each the other way, and then, as their publishers start anew, the other
// way round. Of real migrations between two libvirtd the consumer decides as ever; where a publisher is missing it writes
// nothing, and says so once a port. check tells of the clocks in one finding.
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
		memory int                      // GiB, all empty: some 2 s each to say so
		fails  bool
	}{
		{"none on the destination", map[string]time.Duration{source: 10 * time.Minute}, 1, false},
		{"migrated", map[string]time.Duration{source: 10 * time.Minute, dest: -10 * time.Minute}, 1, false},
		{"failed", map[string]time.Duration{source: -10 * time.Minute, dest: 10 * time.Minute}, 4, true},
	} {
		for host, wrong := range c.clocks {
			map[string]*ownPublisher{source: from, dest: to}[host].with(wrong)
		}
		settings, facts := checkSettings(b.url(), "earlybind", b.password), check.BrokerFacts{}
		eventually(t, "each publisher to answer by its clock", func() (bool, error) {
			facts = check.AskBroker(t.Context(), settings, nil, time.Second, nil)
			right := 0
			for host, wrong := range c.clocks {
				if skew, seen := facts.Answers[host].Skew.Get(); seen && (skew-wrong).Abs() < 10*time.Second {
					right++
				}
			}
			return right == len(c.clocks), nil
		})
		of := slices.DeleteFunc(check.Judge(check.Facts{Settings: settings, Brokers: []check.BrokerFacts{facts}}), func(f check.Finding) bool { return f.ID != "clock" })
		if len(of) != 1 || of[0].Level != check.Note || len(of[0].Hosts) != len(c.clocks) {
			t.Fatalf("of clocks it says: %+v", of)
		}
		t.Logf("%s: %s", c.name, of[0].Saw)

		_, known := c.clocks[dest]
		g, ended := cloud.guest(t), make(chan error, 1)
		must(t, from.qemu(fmt.Sprintf(`<domain type="qemu"><name>%s</name><uuid>%[1]s</uuid><memory unit="GiB">%d</memory><os><type machine="q35">hvm</type></os>
			<metadata><nova:instance xmlns:nova="http://openstack.org/xmlns/libvirt/nova/1.1"/></metadata></domain>`, g.id, c.memory), "create", "/dev/stdin"))
		nova.prepares(g)
		r.await("handover.armed", "instance", g.id)
		go func() {
			ended <- from.qemu("", "migrate", "--live", "--bandwidth", "1", g.id, "qemu+tcp://"+address+"/system", "tcp://"+address)
		}()
		if known {
			r.await("evidence.seen", "instance", g.id, "host", dest, "saw", "libvirt: started/migrated")
		}
		if c.fails {
			must(t, from.qemu("", "suspend", g.id)) // as Nova's force-complete does
		}
		for _, id := range g.ports {
			if !known {
				r.await("port.observed", "port", id, "why", "no publisher was heard on "+dest)
				continue
			}
			r.await("port.written", "port", id, "host", dest, "outcome", "activated")
		}
		guestOn, outcome := dest, "migrated"
		if c.fails {
			guestOn, outcome = source, "restored"
			must(t, from.qemu("", "domjobabort", g.id))
			if <-ended == nil {
				t.Fatal("the migration succeeded")
			}
			nova.rollsBack(g)
			for _, id := range g.ports {
				r.await("port.written", "port", id, "host", source, "decided", "rebind")
				cloud.fake.DeleteRow(id, dest) // Nova
			}
			nova.hasRolledBack(g)
		} else {
			must(t, <-ended)
			for _, id := range g.ports {
				if !known {
					must(t, binding.Activate(t.Context(), cloud.fake.Client(), id, dest).Err) // Nova
				}
			}
			nova.takesOver(g)
		}
		r.await("handover.ended", "instance", g.id, "outcome", outcome)
		wantRight(t, cloud, g, guestOn)
		for _, id := range g.ports {
			observed, written := len(r.all("event", "port.observed", "port", id)), len(r.all("event", "port.written", "port", id))
			if known && (observed != 0 || written == 0) || !known && (observed != 1 || written != 0) {
				t.Errorf("port %s: said %d times that it is observed, written %d times", id, observed, written)
			}
		}
		heard := map[string]time.Duration{}
		for _, line := range r.all("event", "evidence.seen", "instance", g.id) {
			if at, has := line["at"].(string); has {
				saw, err := time.Parse(time.RFC3339, at)
				must(t, err)
				wrote, err := time.Parse(time.RFC3339, line["time"].(string))
				must(t, err)
				heard[line["host"].(string)] = saw.Sub(wrote).Round(time.Minute)
			}
		}
		if !maps.Equal(heard, c.clocks) {
			t.Errorf("the log shows that the hosts' clocks are off by %v, want %v", heard, c.clocks)
		}
	}
}
