//go:build integration

package packages

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"debug/buildinfo"
	"debug/elf"
	"encoding/hex"
	"encoding/json"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const dist = root + "/dist/"

var programs = []string{"earlybind", "earlybind-consumer", "earlybind-publisher"}

// version is what the programs were linked with; make test-packages says it.
func version(t *testing.T) string {
	t.Helper()
	v := os.Getenv("VERSION")
	if v == "" {
		t.Fatal("VERSION is not set: make test-packages does it, after make release")
	}
	return v
}

// one is the only file of dist/ with that pattern.
func one(t *testing.T, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(dist + pattern)
	if err != nil || len(found) != 1 {
		t.Fatalf("%s: %q, %v", pattern, found, err)
	}
	return found[0]
}

// entries visits what is in a .tar.gz.
func entries(t *testing.T, file string, visit func(entry *tar.Header, content io.Reader)) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	plain, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for archive := tar.NewReader(plain); ; {
		entry, err := archive.Next()
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		visit(entry, archive)
	}
}

// unpacked are the programs of the tarball, in a directory.
func unpacked(t *testing.T) string {
	t.Helper()
	into := t.TempDir()
	var names []string
	entries(t, one(t, "earlybind_*_linux_*.tar.gz"), func(entry *tar.Header, content io.Reader) {
		if entry.Mode != 0o755 || entry.Uid != 0 {
			t.Errorf("%s: mode %o, user %d", entry.Name, entry.Mode, entry.Uid)
		}
		names = append(names, entry.Name)
		text, err := io.ReadAll(content)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(into, filepath.Base(entry.Name)), text, 0o755); err != nil {
			t.Fatal(err)
		}
	})
	if !slices.Equal(names, programs) {
		t.Errorf("the tarball has %q", names)
	}
	return into
}

func TestEveryFileOfTheReleaseHasItsSum(t *testing.T) {
	files, err := os.ReadDir(dist)
	if err != nil {
		t.Fatal(err)
	}
	sums := read(t, dist+"SHA256SUMS")
	// Of three programs two packages and an SBOM, the tarball; of two images a file and an SBOM.
	if got, want := strings.Count(sums, "\n"), len(files)-1; got != want || want != 3*3+1+2*2 {
		t.Errorf("%d sums of %d files", got, want)
	}
	for _, file := range files {
		if file.Name() == "SHA256SUMS" {
			continue
		}
		sum := sha256.Sum256([]byte(read(t, dist+file.Name())))
		if line := hex.EncodeToString(sum[:]) + "  " + file.Name() + "\n"; !strings.Contains(sums, line) {
			t.Errorf("not in SHA256SUMS: %s", line)
		}
	}
}

// sbom is what of a file of CycloneDX is looked at.
type sbom struct {
	BOMFormat, SpecVersion string
	Metadata               struct {
		Component struct{ Type, Name, Version string }
	}
	Components []struct {
		Ref                 string `json:"bom-ref"`
		Name, Version, Purl string
	}
}

// made reads the only SBOM with that pattern, and gives its components as NAME VERSION.
func made(t *testing.T, pattern string) (sbom, map[string]bool) {
	t.Helper()
	var of sbom
	if err := json.Unmarshal([]byte(read(t, one(t, pattern))), &of); err != nil {
		t.Fatal(err)
	}
	components, refs := map[string]bool{}, map[string]bool{}
	for _, c := range of.Components {
		if refs[c.Ref] || c.Ref == "" || c.Purl == "" {
			t.Errorf("%s: component %+v", pattern, c)
		}
		refs[c.Ref], components[c.Name+" "+c.Version] = true, true
	}
	if of.BOMFormat != "CycloneDX" || of.SpecVersion != "1.6" || of.Metadata.Component.Version != version(t) {
		t.Errorf("%s: %s %s of %+v", pattern, of.BOMFormat, of.SpecVersion, of.Metadata.Component)
	}
	return of, components
}

// modules is what Go has linked into a program of a directory.
func modules(t *testing.T, dir, program string) map[string]bool {
	t.Helper()
	info, err := buildinfo.ReadFile(filepath.Join(dir, program))
	if err != nil {
		t.Fatal(err)
	}
	linked := map[string]bool{"std " + info.GoVersion: true}
	for _, module := range info.Deps {
		linked[module.Path+" "+module.Version] = true
	}
	return linked
}

// What the SBOM names is what Go has linked.
func TestSBOMs(t *testing.T) {
	dir := unpacked(t)
	for _, program := range programs {
		of, got := made(t, program+"_*.cdx.json")
		if want := modules(t, dir, program); of.Metadata.Component.Name != "github.com/earlybind/earlybind" || !maps.Equal(got, want) {
			t.Errorf("%s: %v has %q, linked are %q", program, of.Metadata.Component, slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
		}
	}
}

// The consumer and the command line program run wherever the kernel does. The publisher asks for the C library that its
// packages say it does, and for no libvirt before it starts. None tells where it was built.
func TestPrograms(t *testing.T) {
	dir := unpacked(t)
	here, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	needs := debian(t, "dpkg-deb --field /dist/earlybind-publisher_*.deb Depends")
	for _, program := range programs {
		name := filepath.Join(dir, program)
		if strings.Contains(read(t, name), here) {
			t.Errorf("%s holds the path %s", program, here)
		}
		f, err := elf.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		libraries, err := f.ImportedLibraries()
		if err != nil {
			t.Fatal(err)
		}
		interpreted := slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP })
		switch {
		case program != "earlybind-publisher":
			if len(libraries) > 0 || interpreted {
				t.Errorf("%s is not static: %q", program, libraries)
			}
		case slices.ContainsFunc(libraries, func(l string) bool { return strings.Contains(l, "virt") }):
			t.Errorf("%s is linked with %q", program, libraries)
		default:
			symbols, err := f.ImportedSymbols()
			if err != nil {
				t.Fatal(err)
			}
			var newest [2]int
			for _, symbol := range symbols {
				if m := regexp.MustCompile(`^GLIBC_(\d+)\.(\d+)`).FindStringSubmatch(symbol.Version); m != nil {
					newest = later(newest, [2]int{number(m[1]), number(m[2])})
				}
			}
			declared := regexp.MustCompile(`libc6 \(>= (\d+)\.(\d+)\)`).FindStringSubmatch(needs)
			if declared == nil || newest != [2]int{number(declared[1]), number(declared[2])} {
				t.Errorf("it calls glibc %v, and its package needs %s", newest, needs)
			}
		}
		f.Close()
	}
}

// The package version sorts as dpkg says.
func TestPackageVersions(t *testing.T) {
	var compared []string
	for _, c := range [][2]string{ // in their order
		{"4bb3c64", `^0~\d{14}\.4bb3c64$`},
		{"4bb3c64-dirty", `^0~\d{14}\.4bb3c64\+dirty$`},
		{"v1.2.0-rc1", `^1\.2\.0~rc1$`},
		{"v1.2.0-rc1-3-gabcdef0", `^1\.2\.0~rc1\+3\.gabcdef0$`},
		{"v1.2.0", `^1\.2\.0$`},
		{"1.2.0-5-gabcdef0", `^1\.2\.0\+5\.gabcdef0$`},
		{"v1.2.0-12-gabcdef0-dirty", `^1\.2\.0\+12\.gabcdef0\+dirty$`},
		{"v1.2.1", `^1\.2\.1$`},
	} {
		got := command(t, "deploy/packages/release", "version", c[0])
		if !regexp.MustCompile(c[1]).MatchString(got) {
			t.Errorf("%s is packaged as %s", c[0], got)
		}
		compared = append(compared, got)
	}
	for i, got := range compared[1:] {
		compared[i] = "dpkg --compare-versions " + compared[i] + " lt-nl " + got + " || echo " + compared[i] + " is not before " + got
	}
	if said := debian(t, strings.Join(compared[:len(compared)-1], "\n")); said != "" {
		t.Error(said)
	}
	if said, err := tried("deploy/packages/release", "version", "not a version"); err == nil || strings.Count(said, "\n") != 0 {
		t.Errorf("%v %s", err, said)
	}
}

// debian runs a script where there is a dpkg, whatever this machine is.
func debian(t *testing.T, script string) string {
	t.Helper()
	base(t, suite)
	dist, err := filepath.Abs(dist)
	if err != nil {
		t.Fatal(err)
	}
	return command(t, "docker", "run", "--rm", "--network", "none", "--volume", dist+":/dist:ro", "debian:"+suite+"-slim", "sh", "-c", script)
}

func number(digits string) int {
	n, err := strconv.Atoi(digits)
	if err != nil {
		panic(err) // a regular expression has taken care of that
	}
	return n
}

func later(a, b [2]int) [2]int {
	if slices.Compare(a[:], b[:]) < 0 {
		return b
	}
	return a
}
