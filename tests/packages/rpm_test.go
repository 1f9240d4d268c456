//go:build integration

package packages

import "strings"

// The rpm packages are looked into by Debian's rpm, and installed into a directory of their own: their scripts and what they
// depend on want a distribution of rpm packages, which is not there.
func rpms(h host) {
	h.sh("for p in /dist/*.rpm; do rpm --dbpath /tmp/rpmdb -K --nosignature $p; done")
	query := func(format, name string) string {
		return h.sh("rpm --dbpath /tmp/rpmdb -qp --nosignature " + format + " $(ls /dist/" + name + "-0* /dist/" + name + "-[1-9]* 2>/dev/null)")
	}
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
		scripts := query("--scripts", p)
		for _, want := range []string{"systemd-sysusers " + p + ".conf", "systemctl try-restart " + p + ".service", "systemctl disable --now " + p + ".service"} {
			if !strings.Contains(scripts, want) {
				h.Errorf("%s: no %q in\n%s", p, want, scripts)
			}
		}
	}
	requires := query("--requires", "earlybind-publisher")
	for _, want := range []string{"libvirt.so.0()(64bit)", "libc.so.6(GLIBC_2.", "/usr/bin/systemd-sysusers"} {
		if !strings.Contains(requires, want) {
			h.Errorf("no %s in %s", want, requires)
		}
	}
	h.sh("mkdir /tmp/rpm && rpm --root /tmp/rpm --dbpath /var/lib/rpm -i --nosignature --nodeps --noscripts /dist/*.rpm")
	h.is("files that differ from the packages", h.sh("rpm --root /tmp/rpm --dbpath /var/lib/rpm -Va --nodeps --noscripts; rm -r /tmp/rpm"), "")
	version := version(h.T)
	h.is("arch and version", query(`--qf '%{NAME} %{ARCH} %{VERSION}\n'`, "earlybind-consumer"),
		"earlybind-consumer "+h.sh("uname -m")+" "+command(h.T, "deploy/packages/release", "version", version))
}
