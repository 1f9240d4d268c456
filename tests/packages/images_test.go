//go:build integration

package packages

import (
	"strings"
	"testing"
)

// The images run their program as a user that is not root, and have what it needs.
func TestImages(t *testing.T) {
	version := version(t)
	for _, target := range []string{"consumer", "publisher"} {
		program := "earlybind-" + target
		image := program + ":" + version
		if got := command(t, "docker", "image", "inspect", "-f", "{{.Config.User}} {{.Config.Entrypoint}}", image); got != "65532:65532 ["+program+"]" {
			t.Errorf("%s: %s", image, got)
		}
		run := []string{"run", "--rm", "--network", "none", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"}
		if got := command(t, "docker", append(run, image, "-version")...); got != program+" "+version {
			t.Errorf("%s: %s", image, got)
		}
		got, err := tried("docker", append(run, "-e", "EARLYBIND_AMQP_USER=u", "-e", "EARLYBIND_AMQP_PASSWORD=secret", "-e", "EARLYBIND_HOST=h", "-e", "EARLYBIND_LOG_LEVEL=loud", image)...)
		if err == nil || !strings.Contains(got, "EARLYBIND_LOG_LEVEL must be trace") || strings.Contains(got, "secret") {
			t.Errorf("%s with a wrong setting: %v\n%s", image, err, got)
		}
	}
	if got := command(t, "docker", "run", "--rm", "--entrypoint", "earlybind", "earlybind-consumer:"+version, "-version"); got != "earlybind "+version {
		t.Error(got)
	}
	// libvirt is really there: a URI that it does not know is refused by libvirt itself.
	got := command(t, "docker", "run", "--rm", "--entrypoint", "sh", "earlybind-publisher:"+version, "-c", "stat -c '%U %a' /var/lib/earlybind; ldconfig -p | grep -c libvirt.so.0; id -u")
	if got != "earlybind 700\n1\n65532" {
		t.Errorf("%s", got)
	}
}
