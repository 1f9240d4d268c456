package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Vhost is a virtual host of the lab's RabbitMQ, with the lab's users and what
// they may do, taken from the lab's own definitions.
type Vhost struct {
	Name     string
	URL      string // without credentials
	Password string // of every user
	address  string
}

// NewVhost makes one.
func (l *Lab) NewVhost(ctx context.Context, name string) (*Vhost, error) {
	password, err := l.Password()
	if err != nil {
		return nil, err
	}
	address := l.Address("rabbitmq")
	v := &Vhost{Name: name, URL: "amqp://" + address + ":5672/" + name, Password: password, address: address}
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

// api calls RabbitMQ's management API as its administrator.
func (v *Vhost) api(ctx context.Context, method, path string, body, into any) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, "http://"+v.address+":15672/api/"+path, bytes.NewReader(raw))
	if err != nil {
		return err
	}
	request.SetBasicAuth("admin", v.Password)
	answer, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
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
