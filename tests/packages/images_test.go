//go:build integration

package packages

import (
	"archive/tar"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"
)

// The images of dist/, as somebody else loads them, run their program as a user that is not root, and have what it needs.
func TestImages(t *testing.T) {
	version := version(t)
	// The publisher's has a name where libvirtd runs in a container too, see deploy/container/Dockerfile.
	for target, user := range map[string]string{"consumer": "65532:65532", "publisher": "65534:65534"} {
		program := "earlybind-" + target
		image := program + ":" + version
		command(t, "docker", "rmi", "--force", "--no-prune", image)
		if got := command(t, "docker", "load", "--quiet", "--input", strings.TrimPrefix(one(t, "image-"+program+"_*.tar.gz"), root+"/")); got != "Loaded image: "+image {
			t.Error(got)
		}
		if got := command(t, "docker", "image", "inspect", "-f", "{{.Config.User}} {{.Config.Entrypoint}}", image); got != user+" ["+program+"]" {
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
	// libvirt's library is there, and the directory of the state is the user's.
	got := command(t, "docker", "run", "--rm", "--entrypoint", "sh", "earlybind-publisher:"+version, "-c", "stat -c '%U %a' /var/lib/earlybind; ldconfig -p | grep -c libvirt.so.0; id -u")
	if got != "nobody 700\n1\n65534" {
		t.Errorf("%s", got)
	}
}

// Everybody may enter an image's root directory: docker sees to that itself, podman and Kubernetes take it as it is.
func TestRootOfImages(t *testing.T) {
	for _, target := range []string{"consumer", "publisher"} {
		image, layers := one(t, "image-earlybind-"+target+"_*.tar.gz"), 0
		entries(t, image, func(entry *tar.Header, content io.Reader) {
			if path.Base(entry.Name) != "layer.tar" && !strings.HasPrefix(entry.Name, "blobs/") || entry.Typeflag != tar.TypeReg {
				return
			}
			layer := tar.NewReader(content)
			first, err := layer.Next()
			if err != nil {
				return // of the files of other kinds that newer versions of docker put there
			}
			if layers++; path.Clean(first.Name) == "." && first.FileInfo().Mode().Perm() != 0o755 {
				t.Errorf("%s: the root directory has mode %o", image, first.Mode)
			}
		})
		if layers < 2 {
			t.Errorf("%s: %d layers", image, layers)
		}
	}
}

// An image's SBOM names the packages that dpkg has in it, the programs that it has, and their modules.
func TestSBOMsOfImages(t *testing.T) {
	dir := unpacked(t)
	for image, has := range map[string][]string{"earlybind-consumer": {"earlybind-consumer", "earlybind"}, "earlybind-publisher": {"earlybind-publisher"}} {
		listed := command(t, "docker", "run", "--rm", "--network", "none", "--entrypoint", "dpkg-query", image+":"+version(t), "-W", "-f", `${Package} ${Version}\n`)
		want := map[string]bool{"github.com/earlybind/earlybind " + version(t): true}
		for _, line := range strings.Split(listed, "\n") {
			want[line] = true
		}
		for _, program := range has {
			maps.Copy(want, modules(t, dir, program))
		}
		of, got := made(t, "image-"+image+"_*.cdx.json")
		if c := of.Metadata.Component; c.Type != "container" || c.Name != image || !maps.Equal(got, want) {
			t.Errorf("%+v has %q, there are %q", c, slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
		}
		programs := 0
		for _, c := range of.Components {
			if c.Name == "github.com/earlybind/earlybind" {
				programs++
			}
		}
		if programs != len(has) {
			t.Errorf("%s has %d programs, its SBOM %d", image, len(has), programs)
		}
	}
}
