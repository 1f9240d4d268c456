package check

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/earlybind/earlybind/internal/config"
)

// Management is RabbitMQ's management API (plugin rabbitmq_management), which a stock broker
// of Nova's may lack: it tells what AMQP does not. It is only read.
type Management struct {
	URL      string // without credentials
	User     string // with tag management; administrator, to see users' rights
	Password config.Secret
	TLS      *tls.Config
}

// CheckURL tells what is wrong with its address, for a sentence that begins with what named
// it; nil if nothing is.
func (m Management) CheckURL() error {
	u, err := url.Parse(m.URL)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return errors.New("must be http://host:15672 or https://host:15671") // the error would quote it
	case u.User != nil:
		return errors.New("holds credentials; they belong in -management-user and -management-password-file")
	}
	return nil
}

var errAbsent = errors.New("it is not there")

// Made reads how exchanges and queues of a vhost were made, and a user's rights there. The
// policies that it gives with a queue are those in force on it.
func (m Management) Made(ctx context.Context, vhost, user string, exchanges, queues []string) (Made, error) {
	made := Made{Exchanges: map[string]MadeExchange{}, Queues: map[string]MadeQueue{}}
	for _, name := range exchanges {
		var e struct {
			Type    string `json:"type"`
			Durable bool   `json:"durable"`
		}
		switch err := m.get(ctx, &e, "exchanges", vhost, name); {
		case err == nil:
			made.Exchanges[name] = MadeExchange{e.Type, e.Durable}
		case !errors.Is(err, errAbsent):
			return Made{}, err
		}
	}
	for _, name := range queues {
		var q struct {
			Type      string         `json:"type"`
			Durable   bool           `json:"durable"`
			Policy    string         `json:"policy"`
			Operator  string         `json:"operator_policy"`
			Effective map[string]any `json:"effective_policy_definition"`
		}
		switch err := m.get(ctx, &q, "queues", vhost, name); {
		case err == nil:
			one := MadeQueue{Type: q.Type, Durable: q.Durable, Policy: q.Policy, Limits: map[string]float64{}}
			if one.Policy == "" {
				one.Policy = q.Operator
			}
			for key, value := range q.Effective {
				if n, ok := value.(float64); ok {
					one.Limits[key] = n
				}
			}
			made.Queues[name] = one
		case !errors.Is(err, errAbsent):
			return Made{}, err
		}
	}
	made.Permissions = Look(m.permissions(ctx, vhost, user))
	return made, nil
}

// permissions are told to administrators alone.
func (m Management) permissions(ctx context.Context, vhost, user string) (Permissions, error) {
	var all []struct{ Vhost, Configure, Write, Read string }
	if err := m.get(ctx, &all, "users", user, "permissions"); err != nil {
		return Permissions{}, err
	}
	for _, p := range all {
		if p.Vhost == vhost {
			return Permissions{p.Configure, p.Write, p.Read}, nil
		}
	}
	return Permissions{}, fmt.Errorf("user %s has none in vhost %s", user, vhost)
}

func (m Management) get(ctx context.Context, into any, path ...string) error {
	for i := range path {
		path[i] = url.PathEscape(path[i])
	}
	where := strings.TrimRight(m.URL, "/") + "/api/" + strings.Join(path, "/")
	ctx, cancel := context.WithTimeout(ctx, confirmWithin)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, where, nil)
	if err != nil {
		return err
	}
	request.SetBasicAuth(m.User, m.Password.Reveal())
	client := http.Client{
		Transport: &http.Transport{TLSClientConfig: m.TLS, DisableKeepAlives: true, ResponseHeaderTimeout: confirmWithin},
		// A redirection would be sent the password.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       2 * confirmWithin,
	}
	answer, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("management API: %w", err)
	}
	defer answer.Body.Close()
	switch {
	case answer.StatusCode == http.StatusNotFound:
		return errAbsent
	case answer.StatusCode == http.StatusUnauthorized, answer.StatusCode == http.StatusForbidden:
		return fmt.Errorf("management API: user %s may not see it: %s", m.User, answer.Status)
	case answer.StatusCode != http.StatusOK:
		return fmt.Errorf("management API: %s", answer.Status)
	}
	if err := json.NewDecoder(answer.Body).Decode(into); err != nil {
		return fmt.Errorf("management API: its answer is no JSON: is %s its address?", m.URL)
	}
	return nil
}
