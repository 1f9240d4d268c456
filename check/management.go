package check

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

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

// statisticsWithin is how long the statistics of a new queue are waited for.
const statisticsWithin = 12 * time.Second

var errAbsent = errors.New("it is not there")

// Made reads how exchanges and queues of a vhost were made, and the rights there of a user and of who has made the
// first of the exchanges. The policies that it gives with a queue are those in force on it.
func (m Management) Made(ctx context.Context, vhost, user string, exchanges, queues []string) (Made, error) {
	made := Made{Exchanges: map[string]MadeExchange{}, Queues: map[string]MadeQueue{}}
	transport := &http.Transport{TLSClientConfig: m.TLS, ResponseHeaderTimeout: confirmWithin}
	defer transport.CloseIdleConnections()
	// A redirection would be sent the password.
	api := managementAPI{m, &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	for _, name := range exchanges {
		var e struct {
			Type    string `json:"type"`
			Durable bool   `json:"durable"`
			By      string `json:"user_who_performed_action"`
		}
		switch err := api.get(ctx, &e, "exchanges", vhost, name); {
		case err == nil:
			made.Exchanges[name] = MadeExchange{e.Type, e.Durable, e.By}
		case !errors.Is(err, errAbsent):
			return Made{}, err
		}
	}
	for _, name := range queues {
		var q struct {
			Type      string          `json:"type"`
			Durable   bool            `json:"durable"`
			Policy    string          `json:"policy"`
			Operator  string          `json:"operator_policy"`
			Effective json.RawMessage `json:"effective_policy_definition"`
		}
		switch err := api.get(ctx, &q, "queues", vhost, name); {
		case err == nil:
			one := MadeQueue{Type: q.Type, Durable: q.Durable, Policy: cmp.Or(q.Policy, q.Operator), Limits: limitsOf(q.Effective)}
			made.Queues[name] = one
		case !errors.Is(err, errAbsent):
			return Made{}, err
		}
	}
	if user != "" {
		made.Permissions = Look(api.permissions(ctx, vhost, user))
	}
	made.Novas = Unseen[Permissions]("RabbitMQ does not tell who has made Nova's exchange")
	if len(exchanges) > 0 && made.Exchanges[exchanges[0]].By != "" {
		made.Novas = Look(api.permissions(ctx, vhost, made.Exchanges[exchanges[0]].By))
	}
	return made, nil
}

// limitsOf reads the policy that is in force on a queue. The API has it from the queue's
// statistics, which come some seconds after the queue (collect_statistics_interval, 5 s), and
// never where they are switched off: then it is missing. Without a policy it is empty
// (rabbit_mgmt_format.erl, format_queue_stats).
func limitsOf(effective json.RawMessage) Seen[map[string]float64] {
	if effective == nil {
		return Unseen[map[string]float64]("the management API has no statistics of the queue")
	}
	var all map[string]any
	_ = json.Unmarshal(effective, &all) // an empty list before it was an empty object
	limits := map[string]float64{}
	for key, value := range all {
		if n, ok := value.(float64); ok {
			limits[key] = n
		}
	}
	return Saw(limits)
}

// Await waits until the API has the statistics of a queue, some seconds at most.
func (m Management) Await(ctx context.Context, vhost, queue string) {
	ctx, cancel := context.WithTimeout(ctx, statisticsWithin)
	defer cancel()
	for {
		made, err := m.Made(ctx, vhost, "", nil, []string{queue})
		if _, seen := made.Queues[queue].Limits.Get(); seen || err != nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Second):
		}
	}
}

// managementAPI is one that is being asked.
type managementAPI struct {
	Management
	client *http.Client
}

// permissions are told to administrators alone.
func (m managementAPI) permissions(ctx context.Context, vhost, user string) (Permissions, error) {
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

func (m managementAPI) get(ctx context.Context, into any, path ...string) error {
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
	answer, err := m.client.Do(request)
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
