package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
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
	if err := v.api(ctx, http.MethodPut, "vhosts/"+name, nil); err != nil {
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
		if err := v.api(ctx, http.MethodPut, "permissions/"+name+"/"+p.User, rights); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// Remove deletes it with all that is in it.
func (v *Vhost) Remove(ctx context.Context) error {
	return v.api(ctx, http.MethodDelete, "vhosts/"+v.Name, nil)
}

// api calls RabbitMQ's management API as its administrator.
func (v *Vhost) api(ctx context.Context, method, path string, body any) error {
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
	if answer.StatusCode >= 300 {
		return fmt.Errorf("RabbitMQ's management: %s %s: %s", method, path, answer.Status)
	}
	return nil
}
