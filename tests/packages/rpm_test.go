//go:build integration

package packages

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// No distribution of rpm packages is there to install on. What such a one brings is put together of three: rpm itself, Debian's,
// runs the packages' scripts on a host with systemd; what the packages need is refused by name; and these names are what rpm's
// own generator makes of the program and of libvirt's library, which is how a distribution comes to theirs.
func TestRPMPackagesFromInstallingToRemoving(t *testing.T) {
	t.Parallel()
	h := newHost(t, "rpm")
	const rpm = "rpm --nosignature "
	query := func(format, name string) string {
		h.Helper()
		return h.sh(rpm + "-qp " + format + " $(ls /dist/" + name + "-0* /dist/" + name + "-[1-9]* 2>/dev/null)")
	}
	h.sh("for p in /dist/*.rpm; do " + rpm + "-K $p; done")
	const entry = `--qf '[%{FILEMODES:perms} %{FILEUSERNAME} %{FILEGROUPNAME} %{FILEFLAGS:fflags} %{FILENAMES}\n]'`
	for _, program := range []string{"consumer", "publisher"} {
		p := "earlybind-" + program
		h.is("files of "+p, query(entry, p), strings.ReplaceAll(strings.TrimSpace(`
drwxr-xr-x root root  /etc/earlybind
-rw-r----- root root cn /etc/earlybind/@.env
-rwxr-xr-x root root  /usr/bin/earlybind-@
-rw-r--r-- root root  /usr/lib/systemd/system/earlybind-@.service
-rw-r--r-- root root  /usr/lib/sysusers.d/earlybind-@.conf
-rw-r--r-- root root  /usr/share/man/man8/earlybind-@.8.gz`), "@", program))
	}
	h.is("arch and version", query(`--qf '%{NAME} %{ARCH} %{VERSION}\n'`, "earlybind-consumer"),
		"earlybind-consumer "+h.sh("uname -m")+" "+regexp.MustCompile(`earlybind_(.*)_linux_`).FindStringSubmatch(one(t, "earlybind_*_linux_*.tar.gz"))[1])

	// generated lists what rpm's generator finds that a file of this host provides, or requires.
	generated := func(what, file string) []string {
		h.Helper()
		return strings.Fields(h.sh("readlink -f " + file + " | /usr/lib/rpm/elfdeps --" + what))
	}
	h.is("what the consumer requires", query("--requires", "earlybind-consumer"), "/usr/bin/systemd-sysusers")
	h.is("what the command line program requires", query("--requires", "earlybind"), "")
	requires := strings.Fields(query("--requires", "earlybind-publisher"))
	h.sh("mkdir /tmp/programs && tar -C /tmp/programs -xf /dist/*_linux_*.tar.gz")
	provided := slices.Concat(generated("requires", "/tmp/programs/earlybind-publisher"), generated("provides", "/usr/lib/*/libvirt.so.0"), []string{h.sh("ls /usr/bin/systemd-sysusers")})
	for _, need := range requires {
		if !slices.Contains(provided, need) {
			t.Errorf("the publisher requires %s, which rpm's generator does not know: %q", need, provided)
		}
	}
	if len(requires) != 3 {
		t.Errorf("the publisher requires %q", requires)
	}
	refused, code := h.code(rpm + "-i /dist/earlybind-publisher-*.rpm 2>&1")
	for _, need := range requires {
		if code == 0 || !strings.Contains(refused, need+" is needed by earlybind-publisher") {
			t.Errorf("installed without %s: exit code %d\n%s", need, code, refused)
		}
	}

	before := h.sh(everything)
	h.sh(rpm + "-i --nodeps /dist/*.rpm")
	for _, user := range []string{"earlybind-consumer", "earlybind-publisher"} {
		h.is("groups of "+user, h.sh("id -Gn "+user), user)
	}
	h.is("nothing is started before it has its settings", h.sh("systemctl is-enabled earlybind-consumer earlybind-publisher; systemctl is-active earlybind-consumer earlybind-publisher; true"),
		"disabled\ndisabled\ninactive\ninactive")
	h.is("files that differ from the packages", h.sh("rpm -Va --nodeps"), "")
	services(h, true)
	upgrades(h, rpm+"-U --nodeps /newer/*.rpm")
	h.is("versions", h.sh("rpm -q --qf '%{NAME} %{VERSION}\n' earlybind-consumer earlybind-publisher"), "earlybind-consumer "+next+"\nearlybind-publisher "+next)

	h.sh("rpm -e --nodeps earlybind earlybind-consumer earlybind-publisher")
	h.is("processes", h.sh("readlink /proc/[0-9]*/exe | grep earlybind || true"), "")
	h.is("units", h.sh("systemctl list-unit-files --no-legend 'earlybind*'; ls /etc/systemd/system/multi-user.target.wants | grep earlybind; true"), "")
	// What stays is what the operator made, the state and the users. Debian's rpm has its database in /root.
	was := strings.Split(before, "\n")
	var left []string
	for _, line := range strings.Split(h.sh(everything), "\n") {
		if _, path, is := strings.Cut(line, " /"); is && !slices.Contains(was, line) && !strings.HasPrefix(path, "root/.rpmdb") && !strings.Contains(line, ":") {
			left = append(left, "/"+path)
		}
	}
	h.is("left behind", strings.Join(left, "\n"), strings.TrimSpace(`
/etc/earlybind
/etc/earlybind/consumer.clouds.yaml
/etc/earlybind/consumer.env.rpmsave
/etc/earlybind/consumer.password
/etc/earlybind/publisher.env.rpmsave
/etc/earlybind/publisher.password
/var/lib/earlybind
/var/lib/earlybind/epoch`))
}
