package binding

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/config/clouds"
	"gopkg.in/yaml.v2"
)

// cloudsFile is a clouds.yaml and the secure.yaml beside it, whose content is nil if there is none.
type cloudsFile struct {
	path         string
	yaml, secure []byte
}

// findClouds reads them where gophercloud does, which takes what it may not read for what is not
// there, and says so of a clouds.yaml and nothing of a secure.yaml.
func findClouds() (cloudsFile, error) {
	places := searched("clouds.yaml")
	if path := os.Getenv("OS_CLIENT_CONFIG_FILE"); path != "" {
		places = []string{path}
	}
	path, content, err := firstOf(places)
	var unread *fs.PathError
	switch {
	case err != nil && len(places) > 1 && !errors.As(err, &unread):
		return cloudsFile{}, fmt.Errorf("%w; one elsewhere is set by OS_CLIENT_CONFIG_FILE", err)
	case err != nil:
		return cloudsFile{}, err
	}
	secure, err := os.ReadFile(filepath.Join(filepath.Dir(path), "secure.yaml"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return cloudsFile{}, unreadable(err)
	}
	return cloudsFile{path, content, secure}, nil
}

// searched are where a file of that name may be; the first one counts.
func searched(name string) []string {
	places := []string{"./" + name}
	if config := os.Getenv("XDG_CONFIG_HOME"); config != "" {
		places = append(places, filepath.Join(config, "openstack", name))
	} else if home, err := os.UserHomeDir(); err == nil {
		places = append(places, filepath.Join(home, ".config", "openstack", name))
	}
	return append(places, filepath.Join("/etc/openstack", name))
}

// firstOf reads the first of some files that is there. A directory that may not be looked into is
// passed over as long as another has one: it can be the home of whoever has started the program as
// another user.
func firstOf(places []string) (path string, content []byte, err error) {
	var hidden error
	for _, path := range places {
		content, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if _, unseen := os.Stat(path); err != nil && unseen != nil {
			hidden = cmp.Or(hidden, err)
			continue
		}
		if err != nil {
			return "", nil, unreadable(err)
		}
		return path, content, nil
	}
	if hidden != nil {
		return "", nil, unreadable(hidden)
	}
	return "", nil, fmt.Errorf("there is no %s", strings.Join(places, ", nor "))
}

func unreadable(err error) error {
	return fmt.Errorf("%w: the program's user must be able to read it", err)
}

// options have gophercloud read an entry of it.
func (f cloudsFile) options(entry string) []clouds.ParseOption {
	options := []clouds.ParseOption{clouds.WithCloudName(entry), clouds.WithCloudsYAML(bytes.NewReader(f.yaml))}
	if f.secure != nil {
		options = append(options, clouds.WithSecureYAML(bytes.NewReader(f.secure)))
	}
	return options
}

// maxEntries is how many of a file's entries are named where one is not there.
const maxEntries = 8

// has tells of an entry that is not there, and which are. A file that cannot be understood
// gophercloud tells of.
func (f cloudsFile) has(entry string) error {
	var file struct{ Clouds map[string]any }
	if err := yaml.Unmarshal(f.yaml, &file); err != nil || len(bytes.TrimSpace(f.yaml)) == 0 {
		return nil //nolint:nilerr // as said
	}
	if _, there := file.Clouds[entry]; there {
		return nil
	}
	entries := slices.Sorted(maps.Keys(file.Clouds))
	more := ""
	if n := len(entries) - maxEntries; n > 0 {
		entries, more = entries[:maxEntries], fmt.Sprintf(" and %d more", n)
	}
	for i, e := range entries {
		entries[i] = strconv.Quote(e)
	}
	has := "it has none at all"
	if len(entries) > 0 {
		has = "it has " + strings.Join(entries, ", ") + more
	}
	return fmt.Errorf("there is none of that name, %s; another file is set by OS_CLIENT_CONFIG_FILE", has)
}

// publicClouds is a clouds-public.yaml. Gophercloud reads one where an entry names a profile, after
// the clouds.yaml and the secure.yaml, and not where none does: so it is looked for when it is read.
type publicClouds struct {
	path    string // empty until it has been read
	content io.Reader
	err     error // why it could not be
}

func (p *publicClouds) Read(b []byte) (int, error) {
	if p.content == nil && p.err == nil {
		var content []byte
		p.path, content, p.err = firstOf(searched("clouds-public.yaml"))
		p.content = bytes.NewReader(content)
	}
	if p.err != nil {
		return 0, p.err
	}
	return p.content.Read(b)
}

// fault puts an error that came after it had been read into words: which file, and never its text,
// which the parser quotes. They have no "yaml: ", by which [withoutQuotes] knows the parser's own.
func (p *publicClouds) fault(err error) error {
	var unread *fs.PathError
	switch {
	case errors.As(p.err, &unread):
		return fmt.Errorf("it names a profile, and the program's user must be able to read %s (%w)", unread.Path, unread.Err)
	case p.err != nil:
		return fmt.Errorf("it names a profile, and %w", p.err)
	case p.path != "" && errors.Is(err, io.EOF):
		return fmt.Errorf("it names a profile, and %s is empty", p.path)
	case p.path != "" && strings.Contains(err.Error(), "yaml: "):
		return fmt.Errorf("it names a profile, and %s is not what it should be %s", p.path, cmp.Or(yamlLine.FindString(err.Error()), "(no line told)"))
	case err == io.EOF: //nolint:errorlint // of the clouds.yaml alone: that of a secure.yaml is wrapped
		return errors.New("it is empty")
	}
	return err
}

// parse is [clouds.Parse], which looks into an entry's auth without having looked whether there is
// one, in any of the files that it puts together (gophercloud 2.15.0).
func parse(options []clouds.ParseOption) (auth gophercloud.AuthOptions, endpoint gophercloud.EndpointOpts, tlsConfig *tls.Config, err error) {
	defer func() {
		switch fault := recover().(type) {
		case nil:
		case runtime.Error:
			err = fmt.Errorf("it has no auth (%w)", fault)
		default:
			panic(fault)
		}
	}()
	public := &publicClouds{}
	auth, endpoint, tlsConfig, err = clouds.Parse(append(options, clouds.WithCloudsPublicYAML(public))...)
	if err != nil {
		err = public.fault(err)
	}
	return auth, endpoint, tlsConfig, err
}

// checkAccount makes the request for a token, as gophercloud will, and names what it misses as an
// operator writes it: a key of an entry, or a variable. Where gophercloud tells of too many it tells of
// none with the same words.
func checkAccount(auth gophercloud.AuthOptions, inEntry bool) error {
	scope, err := auth.ToTokenV3ScopeMap()
	if err == nil {
		_, err = auth.ToTokenV3CreateMap(scope)
	}
	if err == nil {
		return nil
	}
	set := func(what string, keys ...string) error {
		for i, key := range keys {
			if !inEntry {
				keys[i] = "OS_" + strings.ToUpper(key)
			}
		}
		return fmt.Errorf("%s: %s (gophercloud: %w)", what, strings.Join(keys, " or "), err)
	}
	switch err.(type) { //nolint:errorlint // they are not wrapped
	case gophercloud.ErrScopeDomainIDOrDomainName:
		return set("one domain of the project is needed", "project_domain_name", "project_domain_id")
	case gophercloud.ErrDomainIDOrDomainName:
		return set("one domain of the user is needed", "user_domain_name", "user_domain_id")
	case gophercloud.ErrUsernameOrUserID:
		return set("one user is needed", "username", "user_id")
	case gophercloud.ErrMissingPassword:
		return set("a secret is needed, here or in the file that OS_PASSWORD_FILE names", "password")
	case gophercloud.ErrAppCredMissingSecret:
		return set("a secret is needed, here or in the file that OS_APPLICATION_CREDENTIAL_SECRET_FILE names", "application_credential_secret")
	case gophercloud.ErrScopeProjectIDAlone, gophercloud.ErrScopeProjectIDOrProjectName:
		return set("one project is needed, and an id goes without a domain", "project_name", "project_id")
	case gophercloud.ErrDomainIDWithUserID, gophercloud.ErrDomainNameWithUserID:
		return set("a user's id goes without a domain", "user_domain_name", "user_domain_id")
	}
	return err
}

// ofTLS names what a fault of the TLS files is set by. Gophercloud takes OS_CACERT, OS_CERT and OS_KEY
// before an entry's own.
func ofTLS(err error, inEntry bool) error {
	fault, is := strings.CutPrefix(err.Error(), "unable to compute TLS configuration: ")
	if !is {
		return err
	}
	keys := []string{"cert", "key"}
	if strings.Contains(strings.ToLower(fault), "ca cert") {
		keys = []string{"cacert"}
	}
	for i, key := range keys {
		if name := "OS_" + strings.ToUpper(key); !inEntry || os.Getenv(name) != "" {
			keys[i] = name
		}
	}
	return fmt.Errorf("%s: %s", strings.Join(keys, " and "), fault)
}
