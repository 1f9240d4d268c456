// Command sbom says what a container image is made of, as CycloneDX: the packages that its dpkg knows, and the programs,
// each with the modules that its own SBOM names. deploy/container/images calls it.
//
//	sbom NAME VERSION DISTRIBUTION SBOM... <PACKAGES
//
// PACKAGES has a line for each, as written by dpkg-query with [format].
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
)

// format is what dpkg-query is to be asked with: name, version and architecture of a package, and of what source it was
// built, by which Debian's security tracker knows it.
const format = `${Package}\t${Version}\t${Architecture}\t${source:Package}\t${source:Version}\n`

type bom struct {
	Schema       string       `json:"$schema"`
	Format       string       `json:"bomFormat"`
	Spec         string       `json:"specVersion"`
	Version      int          `json:"version"`
	Metadata     metadata     `json:"metadata"`
	Components   []component  `json:"components"`
	Dependencies []dependency `json:"dependencies"`
}

type metadata struct {
	Component component `json:"component"`
}

type component struct {
	Ref      string          `json:"bom-ref"`
	Type     string          `json:"type"`
	Name     string          `json:"name"`
	Version  string          `json:"version"`
	Scope    string          `json:"scope,omitempty"`
	Hashes   json.RawMessage `json:"hashes,omitempty"`
	PURL     string          `json:"purl,omitempty"`
	External json.RawMessage `json:"externalReferences,omitempty"`
}

type dependency struct {
	Ref string   `json:"ref"`
	On  []string `json:"dependsOn,omitempty"`
}

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(1)
	}
}

func run(args []string, packages io.Reader, out io.Writer) error {
	if len(args) < 4 {
		return errors.New("usage: sbom NAME VERSION DISTRIBUTION SBOM... <PACKAGES, of: dpkg-query -W -f '" + format + "'")
	}
	all, err := debian(packages, args[2])
	if err != nil {
		return err
	}
	image := component{Ref: "image", Type: "container", Name: args[0], Version: args[1]}
	var made bom
	within := dependency{Ref: image.Ref}
	for _, c := range all {
		within.On = append(within.On, c.Ref)
	}
	seen, told := map[string]bool{}, map[string]bool{}
	for _, file := range args[3:] {
		raw, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		var program bom
		if err := json.Unmarshal(raw, &program); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		made.Schema, made.Format, made.Spec = program.Schema, program.Format, program.Spec
		within.On = append(within.On, program.Metadata.Component.Ref)
		for _, c := range append([]component{program.Metadata.Component}, program.Components...) {
			if !seen[c.Ref] { // two programs have modules in common
				seen[c.Ref], all = true, append(all, c)
			}
		}
		for _, d := range program.Dependencies {
			if !told[d.Ref] {
				told[d.Ref], made.Dependencies = true, append(made.Dependencies, d)
			}
		}
	}
	made.Version, made.Metadata.Component, made.Components = 1, image, all
	made.Dependencies = append([]dependency{within}, made.Dependencies...)
	to := json.NewEncoder(out)
	to.SetIndent("", "  ")
	return to.Encode(made)
}

// debian reads the lines of dpkg-query. A package's URL is as the purl specification has it for type deb, where those who
// look for vulnerabilities find source and distribution.
func debian(lines io.Reader, distribution string) ([]component, error) {
	var found []component
	each := bufio.NewScanner(lines)
	for each.Scan() {
		field := strings.Split(each.Text(), "\t")
		if len(field) != 5 {
			return nil, fmt.Errorf("no line of dpkg-query: %q", each.Text())
		}
		name, version, arch, source := field[0], field[1], field[2], field[3]
		if field[4] != version {
			source += "@" + field[4]
		}
		purl := "pkg:deb/debian/" + name + "@" + url.QueryEscape(version) + "?arch=" + arch + "&distro=" + url.QueryEscape(distribution)
		if source != name {
			purl += "&upstream=" + url.QueryEscape(source)
		}
		found = append(found, component{Ref: purl, Type: "library", Name: name, Version: version, PURL: purl})
	}
	if err := each.Err(); err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, errors.New("dpkg-query has named no package")
	}
	return found, nil
}
