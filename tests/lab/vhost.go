package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Vhost is a virtual host of the lab's RabbitMQ, or of a cluster, with the lab's users
// and what they may do, taken from the lab's own definitions.
type Vhost struct {
	Name     string
	URLs     []string // of each node, without credentials
	Password string   // of every user
	nodes    []string // addresses
}

// NewVhost makes one in the lab's RabbitMQ.
func (l *Lab) NewVhost(ctx context.Context, name string) (*Vhost, error) {
	return l.newVhost(ctx, name, l.Address("rabbitmq"))
}

// NewVhost makes one in the cluster.
func (c *Cluster) NewVhost(ctx context.Context, name string) (*Vhost, error) {
	var nodes []string
	for _, n := range c.Nodes {
		nodes = append(nodes, n.Address)
	}
	return c.lab.newVhost(ctx, name, nodes...)
}

func (l *Lab) newVhost(ctx context.Context, name string, nodes ...string) (*Vhost, error) {
	password, err := l.Password()
	if err != nil {
		return nil, err
	}
	v := &Vhost{Name: name, Password: password, nodes: nodes}
	for _, node := range nodes {
		v.URLs = append(v.URLs, "amqp://"+node+":5672/"+name)
	}
	if err := v.api(ctx, http.MethodPut, "vhosts/"+name, nil, nil); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(l.Path("deploy/lab/rabbitmq/definitions.json"))
	if err != nil {
		return nil, err
	}
	var definitions struct {
		Permissions []struct{ User, Configure, Write, Read string }
	}
	if err := json.Unmarshal(text, &definitions); err != nil {
		return nil, err
	}
	for _, p := range definitions.Permissions {
		rights := map[string]string{"configure": p.Configure, "write": p.Write, "read": p.Read}
		if err := v.api(ctx, http.MethodPut, "permissions/"+name+"/"+p.User, rights, nil); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// Remove deletes it with all that is in it.
func (v *Vhost) Remove(ctx context.Context) error {
	return v.api(ctx, http.MethodDelete, "vhosts/"+v.Name, nil, nil)
}

// DeadLetters has what leaves one of the queues without an acknowledgement, expired or
// for want of room, go to an exchange.
func (v *Vhost) DeadLetters(ctx context.Context, exchange string, queues ...string) error {
	var names []string
	for _, queue := range queues {
		names = append(names, regexp.QuoteMeta(queue))
	}
	policy := map[string]any{"pattern": "^(" + strings.Join(names, "|") + ")$", "apply-to": "queues", "definition": map[string]any{"dead-letter-exchange": exchange}}
	return v.api(ctx, http.MethodPut, "policies/"+v.Name+"/"+url.PathEscape(exchange), policy, nil)
}

// Held counts the messages in some queues, ready and unacknowledged, by the management's
// figures, which are up to 5 s old (collect_statistics_interval).
func (v *Vhost) Held(ctx context.Context, queues ...string) (int, error) {
	n := 0
	for _, queue := range queues {
		var q struct{ Messages *int }
		if err := v.api(ctx, http.MethodGet, "queues/"+v.Name+"/"+url.PathEscape(queue), nil, &q); err != nil {
			return 0, err
		}
		if q.Messages == nil {
			return 0, fmt.Errorf("RabbitMQ's management has not counted the messages of %s yet", queue)
		}
		n += *q.Messages
	}
	return n, nil
}

// CloseConnections has the broker close the connections whose clients have named them
// so, and tells how many there were. The management shows a connection some seconds
// after its beginning, and has answered 500 to a request to close one (RabbitMQ 3.10, in chaos): whether it
// is closed shows when it is asked again.
func (v *Vhost) CloseConnections(ctx context.Context, names ...string) (int, error) {
	var all []struct {
		Name  string // the broker's own
		Given string `json:"user_provided_name"`
	}
	if err := v.api(ctx, http.MethodGet, "vhosts/"+v.Name+"/connections", nil, &all); err != nil {
		return 0, err
	}
	closed := 0
	for _, c := range all {
		if !slices.Contains(names, c.Given) {
			continue
		}
		switch err := v.api(ctx, http.MethodDelete, "connections/"+url.PathEscape(c.Name), nil, nil); {
		case err == nil:
			closed++
		case !errors.Is(err, errNotThere) && !errors.Is(err, errInternal): // it can have ended meanwhile
			return closed, err
		}
	}
	return closed, nil
}

var (
	errNotThere = errors.New("not there")
	errInternal = errors.New("500 Internal Server Error")
)

// managed reaches a node's management, or says soon that it is away.
var managed = &http.Client{Transport: &http.Transport{
	DisableKeepAlives: true,
	DialContext:       (&net.Dialer{Timeout: 3 * time.Second}).DialContext,
}}

// api calls RabbitMQ's management API as its administrator, of the first node that answers.
func (v *Vhost) api(ctx context.Context, method, path string, body, into any) error {
	var faults []error
	for _, node := range v.nodes {
		err := v.apiOf(ctx, node, method, path, body, into)
		if away := (*url.Error)(nil); !errors.As(err, &away) {
			return err
		}
		faults = append(faults, err)
	}
	return errors.Join(faults...)
}

func (v *Vhost) apiOf(ctx context.Context, node, method, path string, body, into any) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, "http://"+node+":15672/api/"+path, bytes.NewReader(raw))
	if err != nil {
		return err
	}
	request.SetBasicAuth("admin", v.Password)
	answer, err := managed.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	switch answer.StatusCode {
	case http.StatusNotFound:
		return fmt.Errorf("RabbitMQ's management: %s %s: %w", method, path, errNotThere)
	case http.StatusInternalServerError:
		return fmt.Errorf("RabbitMQ's management: %s %s: %w", method, path, errInternal)
	}
	if answer.StatusCode >= 300 {
		return fmt.Errorf("RabbitMQ's management: %s %s: %s", method, path, answer.Status)
	}
	if into == nil {
		return nil
	}
	return json.NewDecoder(answer.Body).Decode(into)
}
