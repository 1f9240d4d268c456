//go:build integration

package packages

import (
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// worst is the score of systemd-analyze security that no unit may exceed: 0 is none of a user's rights, 10 all of root's.
const worst = 2.0

func asExit(err error, into **exec.ExitError) bool { return errors.As(err, into) }

// everything lists what there is on the host with mode and owner, less what any package manager, login or daemon
// writes as it goes.
const everything = `find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /var/log -o -path /var/tmp \
	-o -path /var/cache -o -path /var/lib/dpkg -o -path /var/lib/apt -o -path /var/lib/systemd -o -path /var/lib/libvirt -o -path /dist \) -prune \
	-o ! -name '*-' -printf '%M %u %g %p\n' | sort -k 4; sort /etc/passwd /etc/group`

// apt is how files of packages are installed: it finds what they need in what is there, or fetches it. The host of
// [newHost] has all of it.
const apt = "DEBIAN_FRONTEND=noninteractive apt-get -y -q install "

func TestDebianPackagesFromInstallingToPurging(t *testing.T) {
	t.Parallel()
	h := newHost(t, "deb")
	before := h.sh(everything)

	h.sh(apt + "/dist/*.deb")
	h.is("files", h.sh(`for p in earlybind earlybind-consumer earlybind-publisher; do dpkg -L $p; done | sort -u | grep -v /doc/ |
		xargs -d '\n' stat -c '%A %U %G %n' | grep earlybind`), strings.TrimSpace(`
drwxr-xr-x root root /etc/earlybind
-rw-r----- root root /etc/earlybind/consumer.env
-rw-r----- root root /etc/earlybind/publisher.env
-rwxr-xr-x root root /usr/bin/earlybind
-rwxr-xr-x root root /usr/bin/earlybind-consumer
-rwxr-xr-x root root /usr/bin/earlybind-publisher
-rw-r--r-- root root /usr/lib/systemd/system/earlybind-consumer.service
-rw-r--r-- root root /usr/lib/systemd/system/earlybind-publisher.service
-rw-r--r-- root root /usr/lib/sysusers.d/earlybind-consumer.conf
-rw-r--r-- root root /usr/lib/sysusers.d/earlybind-publisher.conf
-rw-r--r-- root root /usr/share/man/man1/earlybind.1.gz
-rw-r--r-- root root /usr/share/man/man8/earlybind-consumer.8.gz
-rw-r--r-- root root /usr/share/man/man8/earlybind-publisher.8.gz`))
	h.is("configuration files", h.sh("dpkg-query -W -f '${Conffiles}\n' earlybind-consumer earlybind-publisher | awk '{print $1}' | grep ."),
		"/etc/earlybind/consumer.env\n/etc/earlybind/publisher.env")
	for _, user := range []string{"earlybind-consumer", "earlybind-publisher"} {
		entry := strings.Split(h.sh("getent passwd "+user), ":")
		if id, err := strconv.Atoi(entry[2]); err != nil || id == 0 || id >= 1000 || entry[5] != "/" || !strings.HasSuffix(entry[6], "/nologin") {
			t.Errorf("user %q", entry)
		}
		h.is("groups of "+user, h.sh("id -Gn "+user), user)
	}
	h.is("nothing is started before it has its settings", h.sh("systemctl is-enabled earlybind-consumer earlybind-publisher; systemctl is-active earlybind-consumer earlybind-publisher; true"),
		"disabled\ndisabled\ninactive\ninactive")

	t.Run("versions", func(t *testing.T) {
		h := host{t, h.name}
		version := version(t)
		for _, program := range []string{"earlybind", "earlybind-consumer", "earlybind-publisher"} {
			h.is(program, h.sh(program+" -version"), program+" "+version)
		}
	})
	t.Run("manual", func(t *testing.T) {
		h := host{t, h.name}
		for page, wants := range map[string][]string{
			"earlybind":           {"earlybind audit [options]", "-before-migrate", "EXIT STATUS"},
			"earlybind-consumer":  {"EARLYBIND_POLICY (default named)", "EARLYBIND_AMQP_USER (required)", "consumer.env"},
			"earlybind-publisher": {"EARLYBIND_HOST (required)", "EARLYBIND_DRAIN (default 25s)", "Re-plug on ML2/OVS"},
		} {
			text := h.sh("LC_ALL=C.UTF-8 MANWIDTH=100 man --warnings=all " + page + " 2>&1 | col -b")
			for _, want := range wants {
				if !strings.Contains(text, want) {
					t.Errorf("%s(1) has no %q:\n%s", page, want, text)
				}
			}
			if bad := regexp.MustCompile(`(?m)^.*(\]\(|\|---|warning: ).*$`).FindString(text); bad != "" {
				t.Errorf("%s: %s", page, bad)
			}
		}
		if said := h.sh("whatis earlybind-consumer"); !strings.Contains(said, "activates port bindings") {
			t.Error(said)
		}
	})
	t.Run("hardening", func(t *testing.T) {
		h := host{t, h.name}
		for _, unit := range []string{"earlybind-consumer.service", "earlybind-publisher.service"} {
			h.is("systemd-analyze verify "+unit, h.sh("systemd-analyze verify /usr/lib/systemd/system/"+unit+" 2>&1"), "")
			said := h.sh("systemd-analyze security --no-pager --offline=true /usr/lib/systemd/system/" + unit)
			found := regexp.MustCompile(`Overall exposure level for ` + unit + `: ([0-9.]+)`).FindStringSubmatch(said)
			if found == nil {
				t.Fatalf("%s", said)
			}
			t.Logf("%s: %s", unit, found[1])
			if score, err := strconv.ParseFloat(found[1], 64); err != nil || score > worst {
				t.Errorf("%s: more than %.1f:\n%s", unit, worst, said)
			}
		}
	})
	t.Run("wrong settings", func(t *testing.T) { wrongSettings(host{t, h.name}) })
	t.Run("services", func(t *testing.T) { services(host{t, h.name}, true) })
	t.Run("a program that hangs", func(t *testing.T) { hangs(host{t, h.name}) })
	t.Run("upgrade", func(t *testing.T) {
		h := host{t, h.name}
		upgrades(h, apt+"/newer/*.deb")
		h.is("versions", h.sh("dpkg-query -W earlybind-consumer earlybind-publisher"), "earlybind-consumer\t"+next+"\nearlybind-publisher\t"+next)

		// A setting that the new version refuses stops the service and not the upgrade.
		h.sh("echo EARLYBIND_POLICY=nonsense >>/etc/earlybind/consumer.env")
		if said := h.sh(apt + "--reinstall /newer/earlybind-consumer_*.deb 2>&1"); !strings.Contains(said, "earlybind-consumer did not start again") {
			t.Errorf("%s", said)
		}
		h.sh("sed -i '$d' /etc/earlybind/consumer.env && systemctl restart earlybind-consumer")
	})
	t.Run("removing and purging", func(t *testing.T) {
		h := host{t, h.name}
		h.sh("apt-get -y -q remove earlybind earlybind-consumer earlybind-publisher")
		h.is("processes", h.sh("readlink /proc/[0-9]*/exe | grep earlybind || true"), "")
		h.is("after removing", h.sh("ls /etc/earlybind; cat /var/lib/earlybind/epoch >/dev/null && echo epoch"),
			"consumer.clouds.yaml\nconsumer.env\nconsumer.password\npublisher.env\npublisher.password\nepoch")
		h.sh("apt-get -y -q purge earlybind earlybind-consumer earlybind-publisher")
		after := map[string]bool{}
		for _, line := range strings.Split(before, "\n") {
			after[line] = true
		}
		for _, line := range strings.Split(h.sh(everything), "\n") {
			if !after[line] {
				t.Errorf("left behind: %s", line)
			}
		}
	})
}

// wrongSettings starts the services before they have settings, and with one that is wrong: each fault is one line, and
// systemd does not try again.
func wrongSettings(h host) {
	missing := "_FILE: open /etc/earlybind/%.password: no such file or directory"
	const noCloud = "OpenStack credentials: there is no /etc/earlybind/consumer.clouds.yaml"
	for _, c := range []struct {
		program, added string
		want           []string
	}{
		{"consumer", "", []string{"EARLYBIND_AMQP_PASSWORD" + strings.Replace(missing, "%", "consumer", 1), noCloud}},
		{"publisher", "", []string{
			"EARLYBIND_AMQP_USER is required", "EARLYBIND_AMQP_PASSWORD" + strings.Replace(missing, "%", "publisher", 1), "EARLYBIND_HOST is required",
		}},
		{"consumer", "EARLYBIND_AMQP_PASSWORD_FILE=/dev/null\nEARLYBIND_POLICY=fast", []string{
			"EARLYBIND_AMQP_PASSWORD_FILE: /dev/null is empty", `EARLYBIND_POLICY: a policy is one of observe, resumed, suspended, auto, named`, noCloud,
		}},
	} {
		unit, settings := "earlybind-"+c.program, "/etc/earlybind/"+c.program+".env"
		h.sh("cp -p " + settings + " /root/kept; printf '" + strings.ReplaceAll(c.added, "\n", `\n`) + "\n' >>" + settings)
		if _, code := h.code("systemctl start " + unit); code == 0 {
			h.Errorf("%s started with %q", unit, c.added)
		}
		h.is("state of "+unit, h.sh("systemctl show -P NRestarts -P ExecMainStatus -P ActiveState "+unit+" | grep ."), "0\n78\nfailed")
		var want strings.Builder
		for _, fault := range c.want {
			fmt.Fprintf(&want, "%s: %s\n", unit, fault)
		}
		fmt.Fprintf(&want, "All settings: %[1]s(8), or docs/settings.md; what it needs: %[1]s -h", unit)
		h.is("what it said", h.said(unit), want.String())
		h.sh("systemctl reset-failed " + unit + "; cp -p /root/kept " + settings)
	}
	h.sh("rm /root/kept")
}

// said is what a service has written since this was last asked. The lines are found by the program's name: of a process that
// ended at once, the journal may not know the unit.
func (h host) said(unit string) string {
	h.Helper()
	return h.sh("journalctl --sync; journalctl -q -o cat -t " + unit + " --cursor-file=/run/said." + unit)
}

// services starts both with settings, in the sandbox of their units. The broker and Neutron are away, which they wait
// for; libvirt is the host's own, by its read-only socket, where there is one.
func services(h host, libvirt bool) {
	up := "0"
	if libvirt {
		up = "1"
	}
	h.sh(`cd /etc/earlybind
for p in consumer publisher; do echo secret-of-$p | install -m 0640 -g earlybind-$p /dev/stdin $p.password; done
install -m 0640 -g earlybind-consumer /dev/stdin consumer.clouds.yaml <<'END'
clouds: {earlybind: {auth: {auth_url: "http://127.0.0.1:5000/v3", username: earlybind, password: secret-of-neutron, project_name: service, user_domain_name: Default, project_domain_name: Default}}}
END
echo EARLYBIND_HEALTH=127.0.0.1:8642 >>consumer.env
# What the publisher could not send when it is stopped it would wait with for as long as a broker is away.
printf 'EARLYBIND_HEALTH=127.0.0.1:8643\nEARLYBIND_HOST=compute1\nEARLYBIND_AMQP_USER=earlybind-compute1\nEARLYBIND_DRAIN=2s\n' >>publisher.env
systemctl enable --now earlybind-consumer earlybind-publisher`)
	for unit, wants := range map[string][]string{
		"earlybind-consumer":  {"not ready", "neutron: ", "127.0.0.1:5000", "connection refused"},
		"earlybind-publisher": {"not ready", "broker: ", ":5672", "connection refused"},
	} {
		h.await(unit+" to say how it is", "systemctl show -P StatusText "+unit, func(said string) bool {
			for _, want := range wants {
				if !strings.Contains(said, want) {
					return false
				}
			}
			return true
		})
		h.await("systemd to hear that it lives", "systemctl show -P WatchdogTimestampMonotonic "+unit, func(said string) bool { return said != "0" && said != "" })
		h.is(unit, h.sh("systemctl is-active "+unit+"; systemctl is-enabled "+unit), "active\nenabled")
		process := "/proc/$(systemctl show -P MainPID " + unit + ")/"
		h.is("its rights", h.sh("stat -c %U "+process+"; awk '/^(CapEff|CapBnd|NoNewPrivs|Seccomp):/ {print $1, $2}' "+process+"status"),
			unit+"\nCapEff: 0000000000000000\nCapBnd: 0000000000000000\nNoNewPrivs: 1\nSeccomp: 2")
		if said := h.said(unit); strings.Contains(said, "secret-of") {
			h.Errorf("a secret is in the log:\n%s", said)
		}
	}
	h.is("state", h.sh("stat -c '%A %U %n' /var/lib/earlybind /var/lib/earlybind/epoch"),
		"drwx------ earlybind-publisher /var/lib/earlybind\n-rw------- earlybind-publisher /var/lib/earlybind/epoch")
	for port, wants := range map[string][]string{
		"8642": {"\nprocess_start_time_seconds ", "\nearlybind_live 1"},
		"8643": {"\nprocess_start_time_seconds ", "\nearlybind_live 1", "\nearlybind_dependency_up{dependency=\"libvirt\"} " + up},
	} {
		h.await("the metrics of :"+port, `bash -c 'exec 3<>/dev/tcp/127.0.0.1/`+port+`; printf "GET /metrics HTTP/1.0\r\n\r\n" >&3; cat <&3'`, func(said string) bool {
			for _, want := range wants {
				if !strings.Contains(said, want) {
					return false
				}
			}
			return true
		})
	}
}

// upgrades installs a later version by a command while both services run, which it restarts in order.
func upgrades(h host, by string) {
	const running = "systemctl is-active earlybind-consumer earlybind-publisher; systemctl show -P MainPID earlybind-consumer earlybind-publisher"
	const stopped = "journalctl --sync; journalctl -u earlybind-consumer -u earlybind-publisher -o cat | grep -c 'Deactivated successfully'; true"
	before, ended := strings.Fields(h.sh(running)), number(h.sh(stopped))
	h.sh(by)
	now := strings.Fields(h.sh(running))
	if !slices.Equal(now[:2], []string{"active", "active"}) || now[2] == before[2] || now[3] == before[3] {
		h.Errorf("not restarted: %q, before %q", now, before)
	}
	h.is("stopped in order", strconv.Itoa(number(h.sh(stopped))-ended), "2")
	h.is("settings that were made", h.sh("grep ^EARLYBIND_HOST= /etc/earlybind/publisher.env"), "EARLYBIND_HOST=compute1")
	h.is("enabled", h.sh("systemctl is-enabled earlybind-consumer earlybind-publisher"), "enabled\nenabled")
}

// hangs ends each service as systemd's watchdog does: it runs again, as another process. NRestarts does not count what
// systemctl starts.
func hangs(h host) {
	for _, unit := range []string{"earlybind-consumer", "earlybind-publisher"} {
		before := h.sh("systemctl show -P MainPID " + unit)
		h.sh("kill -ABRT " + before)
		h.await(unit+" to run again", "systemctl show -P NRestarts -P ActiveState "+unit+" | grep .", func(said string) bool { return said == "1\nactive" })
		if now := h.sh("systemctl show -P MainPID " + unit); now == before || now == "0" {
			h.Errorf("%s: process %s, before %s", unit, now, before)
		}
	}
}
