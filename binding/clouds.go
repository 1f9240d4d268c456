package binding

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/config/clouds"
)

// cloudsFile is a clouds.yaml and the secure.yaml beside it, whose content is nil if there is none.
type cloudsFile struct {
	path         string
	yaml, secure []byte
}

// findClouds reads them where gophercloud does, which takes what it may not read for what is not
// there, and says so of a clouds.yaml and nothing of a secure.yaml. A directory that may not be
// looked into is passed over as long as another has one: it can be the home of whoever has started
// the program as another user.
func findClouds() (cloudsFile, error) {
	var hidden error
	places := cloudsPlaces()
	for _, path := range places {
		yaml, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if _, unseen := os.Stat(path); err != nil && unseen != nil {
			hidden = cmp.Or(hidden, err)
			continue
		}
		if err != nil {
			return cloudsFile{}, unreadable(err)
		}
		secure, err := os.ReadFile(filepath.Join(filepath.Dir(path), "secure.yaml"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return cloudsFile{}, unreadable(err)
		}
		return cloudsFile{path, yaml, secure}, nil
	}
	if hidden != nil {
		return cloudsFile{}, unreadable(hidden)
	}
	return cloudsFile{}, fmt.Errorf("there is no %s", strings.Join(places, ", nor "))
}

// cloudsPlaces are where a clouds.yaml may be; the first one counts.
func cloudsPlaces() []string {
	if path := os.Getenv("OS_CLIENT_CONFIG_FILE"); path != "" {
		return []string{path}
	}
	places := []string{"./clouds.yaml"}
	if config := os.Getenv("XDG_CONFIG_HOME"); config != "" {
		places = append(places, filepath.Join(config, "openstack", "clouds.yaml"))
	} else if home, err := os.UserHomeDir(); err == nil {
		places = append(places, filepath.Join(home, ".config", "openstack", "clouds.yaml"))
	}
	return append(places, "/etc/openstack/clouds.yaml")
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

// parse is [clouds.Parse], which looks into an entry's auth without having looked whether there is
// one, in any of the files that it puts together (gophercloud 2.15.0).
func parse(options []clouds.ParseOption) (auth gophercloud.AuthOptions, endpoint gophercloud.EndpointOpts, tlsConfig *tls.Config, err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("it has no auth")
		}
	}()
	return clouds.Parse(options...)
}
