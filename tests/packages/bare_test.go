//go:build integration

package packages

import (
	"strings"
	"testing"
)

// On a Debian that has nothing, in both suites that are promised, apt brings what the packages need, from the archive: systemd
// of both services, libvirt's library of the publisher alone. Then both run. The commands are those of docs/install.md.
func TestAptBringsWhatThePackagesNeed(t *testing.T) {
	t.Parallel()
	for _, suite := range []string{"bookworm", "trixie"} {
		t.Run(suite, func(t *testing.T) {
			t.Parallel()
			base(t, suite)
			h := start(t, suite, "bridge", "debian:"+suite+"-slim", "until [ -e /install-is-done ]; do sleep 0.3; done"+boot)
			h.sh("apt-get -q update")
			needed := func(when, want string) {
				h.Helper()
				h.is("of what is needed there is, "+when, h.sh("dpkg-query -W -f '${Package} ${db:Status-Status}\\n' systemd libvirt0 ca-certificates 2>/dev/null | grep ' installed$' | sort; true"), want)
			}
			needed("before", "")
			h.sh("cd /dist && " + apt + "./earlybind-consumer_*.deb ./earlybind_*.deb")
			needed("on a controller", "ca-certificates installed\nsystemd installed")
			h.sh("cd /dist && " + apt + "./earlybind-publisher_*.deb")
			needed("on a compute host", "ca-certificates installed\nlibvirt0 installed\nsystemd installed")
			h.is("what is broken", h.sh("apt-get -q check >/dev/null && dpkg --audit"), "")

			h.sh("touch /install-is-done")
			h.awaitSystemd()
			services(h, false)
			// These words are of libvirt's own library, which the publisher has loaded.
			h.await("libvirt's library to look for its daemon", "journalctl -q -o cat -t earlybind-publisher", func(said string) bool {
				return strings.Contains(said, "Failed to connect socket to '/var/run/libvirt/libvirt-sock-ro'")
			})
			h.sh("apt-get -y -q purge earlybind earlybind-consumer earlybind-publisher")
			h.is("left behind", h.sh("find / -xdev -name '*earlybind*' -not -path '/var/log/*' -not -path '/proc/*'; grep earlybind /etc/passwd /etc/group; true"), "")
		})
	}
}
