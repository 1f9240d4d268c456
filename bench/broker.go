package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/earlybind/earlybind/internal/broker"
	"github.com/earlybind/earlybind/internal/config"
)

const release = "2025.1" // of the lab's images

// containers that a run starts; their names are fixed, so that the next run finds
// what a killed one has left.
const (
	brokerName    = "bench-rabbitmq"
	listenerName  = "bench-oslo"
	publisherName = "bench-publisher"
)

// rabbit is a RabbitMQ in a container of the bench's own, with the lab's users.
type rabbit struct {
	address  string
	password string
}

// docker runs a docker command and gives its output.
func docker(ctx context.Context, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, "docker", args...).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("docker %s: %w: %s", args[0], err, lastLine(string(exit.Stderr)))
	}
	return strings.TrimSpace(string(out)), err
}

func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndex(text, "\n")+1:]
}

// removeContainers removes what this run, or a killed one, has left.
func removeContainers() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, name := range []string{brokerName, listenerName, publisherName} {
		_, _ = docker(ctx, "rm", "--force", "--volumes", name) // not there, mostly
	}
}

// buildImages makes the lab's images that are missing.
func buildImages(ctx context.Context, images ...string) error {
	build := exec.CommandContext(ctx, "deploy/lab/lab", append([]string{"build"}, images...)...)
	build.Env = append(os.Environ(), "EARLYBIND_LAB_RELEASE="+release)
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("build images: %w", err)
	}
	return nil
}

// startRabbit starts one and returns when it serves clients.
func startRabbit(ctx context.Context) (*rabbit, error) {
	password, err := os.ReadFile("deploy/lab/secrets/password")
	if err != nil {
		return nil, err
	}
	if _, err := docker(ctx, "run", "--detach", "--init", "--name", brokerName, "--hostname", "rabbitmq",
		// Its data in a volume, as an operator has it: not in the layers of the container's file system.
		"--volume", "/var/lib/rabbitmq", "earlybind-lab/rabbitmq:"+release); err != nil {
		return nil, err
	}
	address, err := docker(ctx, "inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", brokerName)
	if err != nil {
		return nil, err
	}
	r := &rabbit{address, strings.TrimSpace(string(password))}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		conn, err := r.dial(ctx, "admin")
		if err == nil {
			return r, conn.Close()
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("RabbitMQ does not serve: %w", err)
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// rabbitFromEnvironment is the one that this program was started with.
func rabbitFromEnvironment() *rabbit {
	u, err := url.Parse(os.Getenv("EARLYBIND_AMQP_URLS"))
	if err != nil {
		u = &url.URL{}
	}
	return &rabbit{address: u.Hostname(), password: os.Getenv("EARLYBIND_AMQP_PASSWORD")}
}

func (r *rabbit) url() string { return "amqp://" + r.address + ":5672/" }

// settings are those of earlybind's programs.
func (r *rabbit) settings(user string) broker.Settings {
	return broker.Settings{AMQPUrls: broker.Cluster{r.url()}, AMQPUser: user, AMQPPassword: config.Secret(r.password)}
}

// environment is that of earlybind's programs.
func (r *rabbit) environment(user string) []string {
	return []string{"EARLYBIND_AMQP_URLS=" + r.url(), "EARLYBIND_AMQP_USER=" + user, "EARLYBIND_AMQP_PASSWORD=" + r.password}
}

// dial connects with heartbeats and all as earlybind does.
func (r *rabbit) dial(ctx context.Context, user string) (*amqp.Connection, error) {
	return broker.Dial(ctx, r.settings(user), "bench")
}

// channel opens a channel on a connection of its own.
func (r *rabbit) channel(ctx context.Context, user string) (*amqp.Channel, func(), error) {
	conn, err := r.dial(ctx, user)
	if err != nil {
		return nil, nil, err
	}
	ch, err := conn.Channel()
	if err != nil {
		return nil, nil, errors.Join(err, conn.Close())
	}
	return ch, func() { _ = conn.Close() }, nil
}

// version asks the broker which it is.
func (r *rabbit) version(ctx context.Context) (string, error) {
	conn, err := r.dial(ctx, "admin")
	if err != nil {
		return "", err
	}
	defer conn.Close()
	version, _ := conn.Properties["version"].(string)
	return version, nil
}

// findRoot goes to the repository's root, where bin/ and deploy/ are.
func findRoot() error {
	for {
		if _, err := os.Stat("docker-compose.yml"); err == nil {
			return nil
		}
		before, err := os.Getwd()
		if err != nil {
			return err
		}
		if filepath.Dir(before) == before {
			return errors.New("not inside the repository: no docker-compose.yml here or above")
		}
		if err := os.Chdir(".."); err != nil {
			return err
		}
	}
}
