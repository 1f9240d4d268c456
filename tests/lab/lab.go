// Package lab drives the docker-compose lab from the docker host: its cloud
// through the real APIs, its containers through the docker command. The tour
// and the integration tests stand on it.
package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/config/clouds"
)

// Guest is the name of the lab's instance; there can be more, see [Lab.About].
const Guest = "guest1"

// Computes are the two hypervisor hosts, as Nova and Neutron name them.
var Computes = [2]string{"compute1", "compute2"}

// publishers and consumers by service.
var (
	publisherOf = map[string]string{"compute1": "publisher1", "compute2": "publisher2"}
	Publishers  = []string{"publisher1", "publisher2"}
	Consumers   = []string{"consumer1", "consumer2"}
)

// Lab is one running lab.
type Lab struct {
	Release string // 2025.1 or zed
	root    string // of the repository
	project string
	network string // first digits of the addresses
	guest   string // what is asked about an instance is about this one

	provider *gophercloud.ProviderClient
	Neutron  *gophercloud.ServiceClient // as the lab's administrator
	Nova     *gophercloud.ServiceClient
}

// addresses are the last parts of the services' fixed addresses on the network
// for APIs; see docker-compose.yml.
var addresses = map[string]string{"rabbitmq": "7.10", "controller": "7.20"}

// Find tells where the lab is: its containers, its addresses and its password.
func Find() (*Lab, error) {
	l := &Lab{Release: env("EARLYBIND_LAB_RELEASE", "2025.1")}
	l.project, l.network, l.guest = "earlybind-lab", "172.30.7", Guest
	if l.Release == "zed" {
		l.project, l.network = "earlybind-lab-zed", "172.30.8"
	}
	l.project = env("EARLYBIND_LAB_PROJECT", l.project)
	l.network = env("EARLYBIND_LAB_NET", l.network)
	root, err := repository()
	if err != nil {
		return nil, err
	}
	l.root = root
	return l, nil
}

// Open connects to the running lab's cloud as its administrator.
func Open(ctx context.Context) (*Lab, error) {
	l, err := Find()
	if err != nil {
		return nil, err
	}
	if l.provider, err = l.Provider(ctx, "admin"); err != nil {
		return nil, fmt.Errorf("the lab does not answer (make lab-up starts it): %w", err)
	}
	if l.Neutron, err = openstack.NewNetworkV2(l.provider, gophercloud.EndpointOpts{Region: "RegionOne"}); err != nil {
		return nil, err
	}
	if l.Nova, err = openstack.NewComputeV2(l.provider, gophercloud.EndpointOpts{Region: "RegionOne"}); err != nil {
		return nil, err
	}
	l.Nova.Microversion = "2.59" // os-migrations with UUIDs; live migration with block_migration "auto"
	return l, nil
}

// About gives the lab with another guest in the place of the first: guest2 and so
// on, see [Lab.Boot].
func (l *Lab) About(guest string) *Lab {
	other := *l
	other.guest = guest
	return &other
}

// Drivers are Neutron's mechanism drivers in the running lab, "openvswitch,l2population",
// "linuxbridge,l2population" or "ovn".
func (l *Lab) Drivers(ctx context.Context) (string, error) {
	const last = "sed -n 's/^mechanism_drivers = //p' /etc/neutron/ml2_conf.ini | tail -n 1"
	text, err := l.Exec(ctx, "controller", "sh", "-c", last)
	return strings.TrimSpace(text), err
}

// Provider authenticates one of the lab's two clients: "admin" or "earlybind".
func (l *Lab) Provider(ctx context.Context, cloud string) (*gophercloud.ProviderClient, error) {
	options, _, _, err := clouds.Parse(clouds.WithCloudName(cloud), clouds.WithLocations(filepath.Join(l.root, "deploy/lab/secrets/clouds.yaml")))
	if err != nil {
		return nil, err
	}
	options.AllowReauth = true
	p, err := openstack.NewClient(options.IdentityEndpoint)
	if err != nil {
		return nil, err
	}
	p.HTTPClient = http.Client{Timeout: time.Minute, Transport: l.Transport()}
	return p, openstack.Authenticate(ctx, p, options)
}

// Transport reaches the lab's services by the names that its catalog has.
func (l *Lab) Transport() http.RoundTripper {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.Proxy = nil
	t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		var d net.Dialer
		return d.DialContext(ctx, network, net.JoinHostPort(l.Address(host), port))
	}
	return t
}

// Address gives the address of a service that the docker host reaches.
func (l *Lab) Address(service string) string {
	if last, ok := addresses[service]; ok {
		return l.network + last
	}
	return service
}

// Password is the one password of the lab.
func (l *Lab) Password() (string, error) {
	raw, err := os.ReadFile(filepath.Join(l.root, "deploy/lab/secrets/password"))
	return strings.TrimSpace(string(raw)), err
}

// Container is the name of a service's container.
func (l *Lab) Container(service string) string { return l.project + "-" + service }

// Exec runs a command in a service's container and gives its output.
func (l *Lab) Exec(ctx context.Context, service string, command ...string) (string, error) {
	return l.docker(ctx, append([]string{"exec", l.Container(service)}, command...)...)
}

// Copy puts a file of this machine into a service's container.
func (l *Lab) Copy(ctx context.Context, file, service, path string) error {
	_, err := l.docker(ctx, "cp", "--quiet", file, l.Container(service)+":"+path)
	return err
}

// Pause freezes services; Unpause thaws them.
func (l *Lab) Pause(ctx context.Context, services ...string) error {
	return l.each(ctx, "pause", services)
}

// Unpause thaws services.
func (l *Lab) Unpause(ctx context.Context, services ...string) error {
	return l.each(ctx, "unpause", services)
}

// Kill ends services with SIGKILL; Start brings them back.
func (l *Lab) Kill(ctx context.Context, services ...string) error {
	return l.each(ctx, "kill", services)
}

// Start starts services whose containers exist.
func (l *Lab) Start(ctx context.Context, services ...string) error {
	return l.each(ctx, "start", services)
}

// Stop stops services.
func (l *Lab) Stop(ctx context.Context, services ...string) error {
	return l.each(ctx, "stop", services)
}

func (l *Lab) each(ctx context.Context, verb string, services []string) error {
	args := []string{verb}
	for _, s := range services {
		args = append(args, l.Container(s))
	}
	_, err := l.docker(ctx, args...)
	return err
}

// Script runs deploy/lab/lab, with variables added to its environment.
func (l *Lab) Script(ctx context.Context, variables []string, args ...string) error {
	cmd := exec.CommandContext(ctx, filepath.Join(l.root, "deploy/lab/lab"), args...)
	cmd.Env = append(os.Environ(), variables...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("lab %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

func (l *Lab) docker(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "docker", args...)
	var out, fault bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &fault
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("docker %s: %w: %s", strings.Join(args[:min(2, len(args))], " "), err, strings.TrimSpace(fault.String()))
	}
	return out.String(), nil
}

// Until looks every 200 ms until the condition holds.
func Until(ctx context.Context, what string, condition func() (bool, error)) error {
	every := time.NewTicker(200 * time.Millisecond)
	defer every.Stop()
	for {
		ok, err := condition()
		if err != nil || ok {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, ctx.Err())
		case <-every.C:
		}
	}
}

// Sleep waits, or returns the error of a context that ends first.
func Sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

func repository() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "docker-compose.yml")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("not inside the repository: no docker-compose.yml here or above")
		}
		dir = up
	}
}

func env(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}
