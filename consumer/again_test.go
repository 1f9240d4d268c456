package consumer

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/earlybind/earlybind/binding"
	"github.com/earlybind/earlybind/handover"
	"github.com/earlybind/earlybind/internal/clock"
)

// renewing is a Keystone and a Neutron where the first token has expired: a request is
// answered 401, and sent again when a new token was fetched.
type renewing struct {
	mu      sync.Mutex
	tokens  int
	renew   func() // called while the second token is made
	written []string
}

func (c *renewing) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	switch {
	case r.URL.Path == "/v3/auth/tokens":
		if c.tokens++; c.tokens > 1 {
			c.renew()
		}
		w.Header().Set("X-Subject-Token", fmt.Sprint(c.tokens))
		w.WriteHeader(http.StatusCreated)
		endpoint := map[string]any{"interface": "public", "region": "RegionOne", "region_id": "RegionOne", "url": "http://" + r.Host}
		_ = json.NewEncoder(w).Encode(map[string]any{"token": map[string]any{
			"expires_at": "2126-11-23T06:00:00.000000Z", "issued_at": "2026-11-23T05:00:00.000000Z",
			"catalog": []any{map[string]any{"type": "network", "endpoints": []any{endpoint}}},
		}})
	case r.URL.Path == "/":
		fmt.Fprint(w, `{"versions": [{"id": "v2.0", "status": "CURRENT", "links": []}]}`)
	case r.Header.Get("X-Auth-Token") == "1":
		w.WriteHeader(http.StatusUnauthorized)
	default:
		c.written = append(c.written, r.Method+" "+r.URL.Path)
		fmt.Fprint(w, `{"host": "compute2", "status": "ACTIVE", "vif_type": "ovs", "vnic_type": "normal", "profile": {}}`)
	}
}

// activating is a Neutron whose activates are another's.
type activating struct {
	*neutron
	real Neutron
}

func (a activating) Activate(ctx context.Context, id, host string) error {
	return a.real.Activate(ctx, id, host)
}

// A request that is sent again with a new token comes late. What was decided meanwhile
// counts: no activate after a sign of failure, none after hands off, none of a handover
// that has ended.
func TestARequestIsNotSentAgainWhenItsAimNoLongerStands(t *testing.T) {
	restore := handover.Aim{Port: "p1", Goal: handover.Goal{Kind: handover.GoalRestore, Host: src}, Other: dst}
	told := restore
	told.Goal.NovaDone = true
	commit := handover.Aim{Port: "p1", Goal: handover.Goal{Kind: handover.GoalCommit, Host: dst}, Other: src, Deadline: time.Minute}
	hold := handover.Aim{Port: "p1", Goal: handover.Goal{Kind: handover.GoalHold}}
	for _, c := range []struct {
		name  string
		aim   handover.Aim
		renew func(w *worker, end func())
		sent  bool
	}{
		{"a commit, and nothing has changed", commit, func(*worker, func()) {}, true},
		{"a commit, and the migration has failed", commit, func(w *worker, _ func()) { w.mail.put(restore) }, false},
		{"a commit, and the handover has ended", commit, func(_ *worker, end func()) { end() }, false},
		{"a restore, and hands off", restore, func(w *worker, _ func()) { w.mail.put(hold) }, false},
		{"a restore, and Nova is done", restore, func(w *worker, _ func()) { w.mail.put(told) }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			cloud := &renewing{}
			server := httptest.NewServer(cloud)
			defer server.Close()
			for name, value := range map[string]string{
				"OS_AUTH_URL": server.URL + "/v3", "OS_USERNAME": "e", "OS_PASSWORD": "p", "OS_PROJECT_NAME": "service",
				"OS_USER_DOMAIN_NAME": "d", "OS_PROJECT_DOMAIN_NAME": "d", "HOME": t.TempDir(),
			} {
				t.Setenv(name, value)
			}
			client, err := binding.NewClient(t.Context(), binding.ClientOpts{Region: "RegionOne"})
			if err != nil {
				t.Fatal(err)
			}
			fake := newNeutron(committed("p1"))
			k := newKit(fake)
			k.tools.neutron, k.tools.time = activating{fake, NewNeutron(client)}, clock.Real()
			ctx, end := context.WithCancel(t.Context())
			defer end()
			if c.aim.Goal.Kind == handover.GoalCommit {
				c.aim.Deadline += k.clock()
			}
			w := &worker{
				instance: guest, port: "p1", tools: k.tools, mail: newMailbox(), aim: c.aim,
				report: k.record, done: func(handover.PortDone) {}, committed: func(_, _ time.Duration) {},
			}
			cloud.renew = func() { c.renew(w, end) }
			if c.aim.Goal.Kind == handover.GoalCommit {
				w.commit(ctx)
			} else {
				// The fake's rows do not follow: it ends when the first activate was tried.
				fake.answer = func(_ context.Context, call string) (bool, error) {
					if slices.Contains(cloud.seen(), "PUT /v2.0/ports/p1/bindings/compute1/activate") {
						end()
					}
					return true, nil
				}
				w.restore(ctx)
			}
			if sent := len(cloud.seen()) > 0; sent != c.sent {
				t.Errorf("requests %q, want one: %t", cloud.seen(), c.sent)
			}
		})
	}
}

func (c *renewing) seen() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.written)
}
