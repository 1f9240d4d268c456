package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPackagesAreNamedAsTheirURLsDo(t *testing.T) {
	found, err := debian(strings.NewReader("bsdutils\t1:2.41.5-0+deb13u1\tamd64\tutil-linux\t2.41.5-0+deb13u1\n"+
		"bash\t5.2.37-2+b10\tamd64\tbash\t5.2.37-2\napt\t3.0.4\tamd64\tapt\t3.0.4\nlibc6\t2.41-12\tamd64\tglibc\t2.41-12\n"), "debian-13")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range found {
		got = append(got, c.PURL)
	}
	if want := strings.Join([]string{
		"pkg:deb/debian/bsdutils@1%3A2.41.5-0%2Bdeb13u1?arch=amd64&distro=debian-13&upstream=util-linux%402.41.5-0%2Bdeb13u1",
		"pkg:deb/debian/bash@5.2.37-2%2Bb10?arch=amd64&distro=debian-13&upstream=bash%405.2.37-2",
		"pkg:deb/debian/apt@3.0.4?arch=amd64&distro=debian-13",
		"pkg:deb/debian/libc6@2.41-12?arch=amd64&distro=debian-13&upstream=glibc",
	}, "\n"); strings.Join(got, "\n") != want {
		t.Errorf("%s\nwanted:\n%s", strings.Join(got, "\n"), want)
	}
}

// Modules that two programs have in common are there once; a reference that was there twice would make the file invalid.
func TestProgramsShareTheirModules(t *testing.T) {
	dir := t.TempDir()
	var files []string
	for _, name := range []string{"a", "b"} {
		file := filepath.Join(dir, name)
		text := strings.ReplaceAll(`{"specVersion": "1.6", "metadata": {"component": {"bom-ref": "NAME", "type": "application"}},
			"components": [{"bom-ref": "std", "hashes": [{"alg": "SHA-256"}]}, {"bom-ref": "only-NAME"}],
			"dependencies": [{"ref": "NAME", "dependsOn": ["std", "only-NAME"]}, {"ref": "std"}]}`, "NAME", name)
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	var out bytes.Buffer
	if err := run(append([]string{"image-of-both", "v1", "debian-13"}, files...), strings.NewReader("apt\t3\tamd64\tapt\t3\n"), &out); err != nil {
		t.Fatal(err)
	}
	var got bom
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	var refs, depend []string
	for _, c := range got.Components {
		refs = append(refs, c.Ref)
	}
	for _, d := range got.Dependencies {
		depend = append(depend, d.Ref+": "+strings.Join(d.On, " "))
	}
	const apt = "pkg:deb/debian/apt@3?arch=amd64&distro=debian-13"
	if s := strings.Join(refs, ", "); s != apt+", a, std, only-a, b, only-b" || !strings.Contains(out.String(), `"alg": "SHA-256"`) {
		t.Errorf("components: %s", s)
	}
	if s := strings.Join(depend, ", "); s != "image: "+apt+" a b, a: std only-a, std: , b: std only-b" {
		t.Errorf("dependencies: %s", s)
	}
}

func TestWhatCannotBeReadIsAFault(t *testing.T) {
	for what, packages := range map[string]string{"no package": "", "no line of dpkg-query": "apt 3.0.4\n"} {
		if err := run([]string{"i", "v", "d", "/nonexistent"}, strings.NewReader(packages), &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := run([]string{"i", "v", "d"}, nil, nil); err == nil || !strings.Contains(err.Error(), "usage") {
		t.Error(err)
	}
}
