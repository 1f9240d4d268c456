package binding_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	th "github.com/gophercloud/gophercloud/v2/testhelper"

	"github.com/earlybind/earlybind/binding"
	"github.com/earlybind/earlybind/binding/bindingtest"
)

// target is a port that is migrating, and the client that speaks of it.
type target struct {
	*bindingtest.Neutron
	client *gophercloud.ServiceClient
	port   string
}

func newTarget(t *testing.T) target {
	t.Helper()
	n := bindingtest.New(t, "compute1", "compute2", "compute3")
	port := n.AddPort(bindingtest.PortOpts{Host: "compute1", DeviceID: "vm"})
	n.PutRow(port, binding.Binding{Host: "compute2", Status: binding.StatusInactive, VIFType: "ovs"})
	return target{n, n.Client(), port}
}

// requests are the calls of a handover and of a restore.
var requests = []struct {
	op   string
	send func(context.Context, target) error
}{
	{binding.OpListPorts, func(ctx context.Context, n target) error {
		_, err := binding.ListPorts(ctx, n.client, "vm")
		return err
	}},
	{binding.OpGetPort, func(ctx context.Context, n target) error {
		_, err := binding.GetPort(ctx, n.client, n.port)
		return err
	}},
	{binding.OpList, func(ctx context.Context, n target) error {
		_, err := binding.List(ctx, n.client, n.port).Extract()
		return err
	}},
	{binding.OpActivate, func(ctx context.Context, n target) error {
		_, err := binding.Activate(ctx, n.client, n.port, "compute2").Extract()
		return err
	}},
	{binding.OpCreate, func(ctx context.Context, n target) error {
		_, err := binding.Create(ctx, n.client, n.port, binding.CreateOpts{Host: "compute3", Profile: map[string]any{"a": "b"}}).Extract()
		return err
	}},
	{binding.OpDelete, func(ctx context.Context, n target) error {
		return binding.Delete(ctx, n.client, n.port, "compute2").ExtractErr()
	}},
	{binding.OpUpdateProfile, func(ctx context.Context, n target) error {
		p, err := binding.GetPort(ctx, n.client, n.port)
		if err != nil {
			return err
		}
		_, err = binding.UpdateProfile(ctx, n.client, n.port, map[string]any{"a": "b"}, p.RevisionNumber)
		return err
	}},
}

func isWrite(op string) bool {
	return op == binding.OpActivate || op == binding.OpCreate || op == binding.OpDelete || op == binding.OpUpdateProfile
}

// changed tells whether the call of an op took effect.
func (n target) changed(op string) bool {
	rows := n.Rows(n.port)
	switch op {
	case binding.OpActivate:
		row, ok := binding.RowOn(rows, "compute2")
		return ok && row.Active()
	case binding.OpCreate:
		_, ok := binding.RowOn(rows, "compute3")
		return ok
	case binding.OpDelete:
		_, ok := binding.RowOn(rows, "compute2")
		return !ok
	case binding.OpUpdateProfile:
		row, _ := binding.RowOn(rows, "compute1")
		return row.Profile["a"] == "b"
	}
	return false
}

// Every way in which Neutron, or what is in front of it, can fail a call: what the
// caller is told, and that a write is sent once whatever comes of it.
func TestFaults(t *testing.T) {
	const internal = "HTTPInternalServerError"
	for _, c := range []struct {
		name  string
		fault bindingtest.Fault
		is    error // nil: none in particular

		transient bool // the same call may succeed later
		unknown   bool // of a write: it may have happened
		later     bool // of a write: it may still happen
	}{
		{"401", bindingtest.Fault{Status: 401}, binding.ErrUnauthorized, false, false, false},
		{"403", bindingtest.Fault{Status: 403, Type: "PolicyNotAuthorized"}, binding.ErrForbidden, false, false, false},
		{"404", bindingtest.Fault{Status: 404, Type: "PortNotFound"}, binding.ErrPortNotFound, false, false, false},
		{"404 of a proxy", bindingtest.Fault{Status: 404, Gateway: true}, binding.ErrNotFound, false, false, false},
		{"409", bindingtest.Fault{Status: 409, Type: "PortBindingAlreadyActive"}, binding.ErrAlreadyActive, false, false, false},
		{"412", bindingtest.Fault{Status: 412, Type: "RevisionNumberConstraintFailed"}, binding.ErrChanged, false, false, false},
		{"429", bindingtest.Fault{Status: 429, Gateway: true, Header: http.Header{"Retry-After": {"7"}}}, nil, true, false, false},
		{"500 before", bindingtest.Fault{Status: 500, Type: internal}, binding.ErrInternal, false, true, false},
		{"500 after", bindingtest.Fault{Status: 500, Type: internal, Apply: true}, binding.ErrInternal, false, true, false},
		{"500 of a proxy", bindingtest.Fault{Status: 500, Gateway: true}, nil, false, true, true},
		{"502 before", bindingtest.Fault{Status: 502, Gateway: true}, nil, true, true, true},
		{"502 after", bindingtest.Fault{Status: 502, Gateway: true, Apply: true}, nil, true, true, true},
		{"503 before", bindingtest.Fault{Status: 503, Gateway: true, Header: http.Header{"Retry-After": {"7"}}}, nil, true, true, true},
		{"503 after", bindingtest.Fault{Status: 503, Gateway: true, Apply: true}, nil, true, true, true},
		{"503 of Neutron's own", bindingtest.Fault{Status: 503}, nil, true, true, false},
		{"504 before", bindingtest.Fault{Status: 504, Gateway: true}, nil, true, true, true},
		{"504 after", bindingtest.Fault{Status: 504, Gateway: true, Apply: true}, nil, true, true, true},
		{"connection cut before", bindingtest.Fault{Drop: true}, binding.ErrNoAnswer, true, true, true},
		{"connection cut after", bindingtest.Fault{Drop: true, Apply: true}, binding.ErrNoAnswer, true, true, true},
		{"cut half-way through the answer", bindingtest.Fault{Half: true, Apply: true}, binding.ErrNoAnswer, true, true, true},
	} {
		for _, r := range requests {
			t.Run(c.name+"/"+r.op, func(t *testing.T) {
				n := newTarget(t)
				c.fault.Op = r.op
				n.Inject(c.fault)
				err := r.send(t.Context(), n)

				var e *binding.Error
				if !errors.As(err, &e) || e.Op != r.op {
					t.Fatalf("error: %T %v", err, err)
				}
				if c.is != nil && !errors.Is(err, c.is) {
					t.Errorf("error: %v, want: %v", err, c.is)
				}
				write := isWrite(r.op)
				if got := binding.IsTransient(err); got != c.transient {
					t.Errorf("transient %v: %v", got, err)
				}
				if got := binding.OutcomeUnknown(err); got != (write && c.unknown) {
					t.Errorf("outcome unknown %v: %v", got, err)
				}
				if got := binding.MayStillHappen(err); got != (write && c.later) {
					t.Errorf("may still happen %v: %v", got, err)
				}
				if strings.Contains(err.Error(), "it may still take effect") != (write && c.later) ||
					strings.Contains(err.Error(), "it may have taken effect") != (write && c.unknown && !c.later) {
					t.Errorf("the text does not tell: %v", err)
				}
				if want := c.fault.Header != nil; (e.RetryAfter() == 7*time.Second) != want {
					t.Errorf("retry after %s", e.RetryAfter())
				}
				n.wantOnce(t, r.op)
				if write && n.changed(r.op) != c.fault.Apply {
					t.Errorf("took effect: %v", !c.fault.Apply)
				}
				if text := fmt.Sprintf("%v %+v", err, errors.Unwrap(err)); strings.Contains(text, bindingtest.Token) {
					t.Errorf("token in %s", text)
				}
				if err := r.send(t.Context(), n); write && c.fault.Apply {
					return // what has happened cannot happen again
				} else if err != nil {
					t.Errorf("after the fault: %v", err)
				}
			})
		}
	}
}

func (n target) wantOnce(t *testing.T, op string) {
	t.Helper()
	sent := 0
	for _, r := range n.Requests() {
		if r.Op == op {
			sent++
		}
	}
	if sent != 1 {
		t.Errorf("%s was sent %d times", op, sent)
	}
}

// The answer never comes, and the caller gives up: the call takes effect later, or
// never.
func TestTimeouts(t *testing.T) {
	for _, r := range requests {
		for _, never := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/never %v", r.op, never), func(t *testing.T) {
				n := newTarget(t)
				release, over := make(chan struct{}), make(chan struct{})
				ctx, giveUp := context.WithCancelCause(t.Context())
				n.Inject(bindingtest.Fault{
					Op: r.op, Arrived: func() { giveUp(context.DeadlineExceeded) }, Until: release, Drop: never, After: func() { close(over) },
				})
				err := r.send(ctx, n)
				if !errors.Is(err, binding.ErrNoAnswer) || !binding.IsTransient(err) {
					t.Errorf("error: %v", err)
				}
				if binding.OutcomeUnknown(err) != isWrite(r.op) || binding.MayStillHappen(err) != isWrite(r.op) {
					t.Errorf("unknown %v, may still happen %v", binding.OutcomeUnknown(err), binding.MayStillHappen(err))
				}
				if n.changed(r.op) {
					t.Error("it took effect at once")
				}
				close(release)
				<-over
				if isWrite(r.op) && n.changed(r.op) == never {
					t.Errorf("it took effect later: %v", never)
				}
				n.wantOnce(t, r.op)
			})
		}
	}
}

// A 200 that does not hold what was asked for is no empty list of rows.
func TestAnswersThatHoldSomethingElse(t *testing.T) {
	for name, fault := range map[string]bindingtest.Fault{
		"empty object":  {Body: map[string]any{}},
		"nothing in it": {Body: map[string]any{"ports": nil, "port": nil, "binding": nil, "bindings": nil}},
		"something":     {Body: map[string]any{"status": "maintenance"}},
		"a list":        {Body: []any{}},
		"a page":        {Status: 200, Gateway: true},
	} {
		for _, r := range requests {
			t.Run(name+"/"+r.op, func(t *testing.T) {
				n := newTarget(t)
				fault.Op = r.op
				if r.op == binding.OpCreate {
					fault.Status = http.StatusCreated
				}
				n.Inject(fault)
				err := r.send(t.Context(), n)
				var e *binding.Error
				if !errors.As(err, &e) {
					t.Fatalf("error: %T %v", err, err)
				}
				if binding.OutcomeUnknown(err) != isWrite(r.op) {
					t.Errorf("outcome unknown %v: %v", !isWrite(r.op), err)
				}
			})
		}
	}
}

// A token that has expired is renewed once, and the call that was refused is sent
// again as it was.
func TestEveryCallRenewsTheToken(t *testing.T) {
	for _, r := range requests {
		t.Run(r.op, func(t *testing.T) {
			n := newTarget(t)
			renewed := 0
			n.client.ReauthFunc = func(context.Context) error { renewed++; return nil }
			n.Inject(bindingtest.Fault{Op: r.op, Status: http.StatusUnauthorized})
			if err := r.send(t.Context(), n); err != nil {
				t.Fatal(err)
			}
			var sent []bindingtest.Request
			for _, request := range n.Requests() {
				if request.Op == r.op {
					sent = append(sent, request)
				}
			}
			if renewed != 1 || len(sent) != 2 || sent[0].Status != http.StatusUnauthorized ||
				sent[0].Body != sent[1].Body || sent[0].IfMatch != sent[1].IfMatch {
				t.Errorf("renewed %d times, sent %+v", renewed, sent)
			}
		})
	}
}

func TestATokenThatIsRefusedAgainIsNotRenewedAgain(t *testing.T) {
	for _, r := range requests {
		n := newTarget(t)
		renewed := 0
		n.client.ReauthFunc = func(context.Context) error { renewed++; return nil }
		n.Inject(bindingtest.Fault{Op: r.op, Status: http.StatusUnauthorized, Times: -1})
		err := r.send(t.Context(), n)
		if !errors.Is(err, binding.ErrUnauthorized) || binding.OutcomeUnknown(err) || renewed != 1 {
			t.Errorf("%s: renewed %d times: %v", r.op, renewed, err)
		}
	}
}

// The ports of an instance are activated at once: one of the calls asks for a new
// token, the others wait for it.
func TestCallsAtOnceRenewTheTokenOnce(t *testing.T) {
	cloud := newCloud(t)
	env(t, cloud, nil)
	client, err := binding.NewClient(t.Context(), binding.ClientOpts{Region: "RegionOne"})
	th.AssertNoErr(t, err)
	cloud.expireToken(0)
	var calls sync.WaitGroup
	for range 8 {
		calls.Go(func() {
			if err := binding.List(t.Context(), client, portID).Err; err != nil {
				t.Error(err)
			}
		})
	}
	calls.Wait()
	th.AssertEquals(t, 2, cloud.tokens)
}

// The check stands between the renewed token and the request: Keystone can have
// taken longer than a commit has.
func TestOnlyIf(t *testing.T) {
	for _, allowed := range []int{0, 1, 2} {
		t.Run(fmt.Sprint(allowed), func(t *testing.T) {
			cloud := newCloud(t)
			env(t, cloud, nil)
			client, err := binding.NewClient(t.Context(), binding.ClientOpts{Region: "RegionOne"})
			th.AssertNoErr(t, err)
			cloud.expireToken(0)
			came, asked := 0, 0
			cloud.arrived = func() { came++ }

			ctx := binding.OnlyIf(t.Context(), func() bool { asked++; return asked <= allowed })
			err = binding.Activate(ctx, client, portID, "compute2").Err

			if came != allowed {
				t.Errorf("%d requests came to Neutron", came)
			}
			switch withheld := errors.Is(err, binding.ErrWithheld); {
			case withheld != (allowed < 2): // refused, and again with a new token
				t.Errorf("error: %v", err)
			case withheld && (errors.Is(err, binding.ErrNoAnswer) || binding.IsTransient(err) || binding.OutcomeUnknown(err)):
				t.Errorf("what was not sent has an outcome: %v", err)
			}
			th.AssertNoErr(t, binding.List(ctx, client, portID).Err)
		})
	}
}

// A connection that is made anew can take as long as a commit has, too.
func TestOnlyIfWhenAConnectionHasBeenMade(t *testing.T) {
	for name, start := range map[string]func(http.Handler) *httptest.Server{"TCP": httptest.NewServer, "TLS": httptest.NewTLSServer} {
		for _, allowed := range []int{1, 2} {
			cloud := newCloud(t)
			env(t, cloud, map[string]string{"OS_INSECURE": "true"})
			client, err := binding.NewClient(t.Context(), binding.ClientOpts{Region: "RegionOne"})
			th.AssertNoErr(t, err)
			came := 0
			neutron := start(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				came++
				_, _ = io.WriteString(w, `{"bindings": []}`)
			}))
			client.ResourceBase = neutron.URL + "/v2.0/"

			asked := 0
			ctx := binding.OnlyIf(t.Context(), func() bool { asked++; return asked <= allowed })
			err = binding.Delete(ctx, client, portID, "compute2").Err
			if withheld := errors.Is(err, binding.ErrWithheld); withheld != (allowed == 1) || withheld && (binding.IsTransient(err) || binding.OutcomeUnknown(err)) {
				t.Errorf("%s, allowed %d times: %v", name, allowed, err)
			}
			if came != allowed-1 || asked != 2 {
				t.Errorf("%s, allowed %d times: asked %d times, %d requests came", name, allowed, asked, came)
			}
			client.ProviderClient.HTTPClient.CloseIdleConnections()
			th.AssertNoErr(t, binding.List(ctx, client, portID).Err)
			neutron.Close()
		}
	}
}

// Go would turn a PUT that is redirected into a GET, whose 200 is a lie.
func TestWritesAreNotRedirected(t *testing.T) {
	cloud := newCloud(t)
	env(t, cloud, nil)
	client, err := binding.NewClient(t.Context(), binding.ClientOpts{Region: "RegionOne"})
	th.AssertNoErr(t, err)
	var elsewhere []string
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		elsewhere = append(elsewhere, r.Method+" "+r.URL.Path)
	}))
	defer other.Close()
	here := 0
	redirecting := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		to := r.URL.Path
		if r.Header.Get("X-Elsewhere") == "" && strings.HasSuffix(to, "/moved") {
			_, _ = w.Write([]byte(`{"port": {"id": "x"}}`))
			return
		}
		if here++; r.Method == http.MethodGet && here == 1 {
			http.Redirect(w, r, to+"/moved", http.StatusMovedPermanently)
			return
		}
		http.Redirect(w, r, other.URL+to, http.StatusMovedPermanently)
	}))
	defer redirecting.Close()
	client.ResourceBase = redirecting.URL + "/v2.0/"

	// A read within its server is.
	_, err = binding.GetPort(t.Context(), client, portID)
	th.AssertNoErr(t, err)
	// Another server does not get the token.
	_, errGet := binding.GetPort(t.Context(), client, portID)
	_, errUpdate := binding.UpdateProfile(t.Context(), client, portID, nil, 1)
	for name, err := range map[string]error{
		"get":      errGet,
		"update":   errUpdate,
		"activate": binding.Activate(t.Context(), client, portID, "compute2").Err,
		"delete":   binding.Delete(t.Context(), client, portID, "compute2").Err,
		"create":   binding.Create(t.Context(), client, portID, binding.CreateOpts{Host: "compute2"}).Err,
	} {
		var e *binding.Error
		if !errors.As(err, &e) || e.Status != http.StatusMovedPermanently || binding.OutcomeUnknown(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(elsewhere) != 0 {
		t.Errorf("sent elsewhere: %q", elsewhere)
	}
}

func TestRetryAfter(t *testing.T) {
	for _, c := range []struct {
		header http.Header
		want   time.Duration
	}{
		{http.Header{}, 0},
		{http.Header{"Retry-After": {"3"}}, 3 * time.Second},
		{http.Header{"Retry-After": {"-3"}}, 0},
		{http.Header{"Retry-After": {"soon"}}, 0},
		// A clock that is years off; the server's own tells.
		{http.Header{"Date": {"Mon, 23 Nov 2020 08:00:00 GMT"}, "Retry-After": {"Mon, 23 Nov 2020 08:00:05 GMT"}}, 5 * time.Second},
		{http.Header{"Date": {"Mon, 23 Nov 2020 08:00:05 GMT"}, "Retry-After": {"Mon, 23 Nov 2020 08:00:00 GMT"}}, 0},
	} {
		n := newTarget(t)
		n.Inject(bindingtest.Fault{Status: http.StatusTooManyRequests, Header: c.header})
		err := binding.List(t.Context(), n.client, n.port).Err
		var e *binding.Error
		if !errors.As(err, &e) || e.RetryAfter() != c.want {
			t.Errorf("%v: %s, %v", c.header, e.RetryAfter(), err)
		}
	}
}
