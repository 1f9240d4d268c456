package binding

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gophercloud/gophercloud/v2"
)

// Operations, as they stand in [Error.Op].
const (
	OpList          = "list bindings"
	OpGet           = "get binding"
	OpCreate        = "create binding"
	OpActivate      = "activate binding"
	OpDelete        = "delete binding"
	OpListPorts     = "list ports"
	OpGetPort       = "get port"
	OpUpdateProfile = "update profile"
	OpExtensions    = "list extensions"
	OpProbe         = "probe permission"
	OpAuthenticate  = "authenticate"
	OpFindNeutron   = "find neutron"
)

// What a caller decides on; ask with [errors.Is].
var (
	// ErrAlreadyActive: 409 PortBindingAlreadyActive. Someone was first.
	ErrAlreadyActive = errors.New("the row is ACTIVE already")

	// ErrAlreadyExists: 409 PortBindingAlreadyExists, on create.
	ErrAlreadyExists = errors.New("the row exists already")

	// ErrNotFound: any 404; what exactly is missing tell the next two.
	ErrNotFound = errors.New("not found")

	// ErrBindingNotFound: 404 PortBindingNotFound, the port has no row there.
	ErrBindingNotFound = errors.New("the port has no row for the host")

	// ErrPortNotFound: 404 PortNotFound. The port is not there, or the user may
	// not see it, or, on update of a port, the port has no ACTIVE row.
	ErrPortNotFound = errors.New("the port is not found, or has no ACTIVE row")

	// ErrInternal: 500 without a reason. On activate: the port has no ACTIVE row,
	// or a DELETE or, before Neutron 23.0.0, another activate has come in between;
	// the row may be ACTIVE nevertheless. Only the rows tell.
	ErrInternal = errors.New("neutron failed inside, as it does for a port without an ACTIVE row")

	// ErrNotBindable: 500 PortBindingError, on create mostly because the host has
	// no live agent.
	ErrNotBindable = errors.New("the row cannot be bound to the host")

	// ErrNotCompute: 400, the device_owner is not an instance. Trunk subports
	// follow their parent.
	ErrNotCompute = errors.New("the port does not belong to an instance")

	// ErrForbidden: 403, or 500 PolicyCheckError. From Neutron 2024.1 on writes
	// need the role service, before that admin.
	ErrForbidden = errors.New("not allowed")

	// ErrUnauthorized: 401, and a new token could not be had.
	ErrUnauthorized = errors.New("not authenticated")

	// ErrChanged: 412, the port's revision is not the one given.
	ErrChanged = errors.New("the port has changed meanwhile")

	// ErrOtherHost: a 200 that lies. Activate was answered with another row, or with
	// a row that is not ACTIVE: the port is probably without an ACTIVE row. Or any
	// call was answered with something that does not hold what was asked for: then
	// it was not Neutron that answered.
	ErrOtherHost = errors.New("neutron answered 200 for something else")

	// ErrNoAnswer: no complete answer came: no connection, timeout, cancelled.
	ErrNoAnswer = errors.New("no answer")

	// ErrWithheld: the check of [OnlyIf] said no, and the request was not sent.
	ErrWithheld = errors.New("not sent")
)

// ErrNoCloud is the fault of settings that name no cloud.
var ErrNoCloud = errors.New("neither OS_CLOUD nor OS_AUTH_URL is set")

// errNotKeystone is that another server answers at the auth URL.
var errNotKeystone = errors.New("what answers there is not Keystone")

// Error is what every call of this package fails with.
type Error struct {
	// Op is one of the Op constants; of [Brief] the request.
	Op string

	// PortID and Host as they were asked for; Host is empty where there is none.
	PortID, Host string

	// Status is the HTTP status, 0 if no answer came.
	Status int

	// Type is Neutron's error type, for example PortBindingAlreadyActive; empty
	// if the answer was not Neutron's.
	Type string

	// Message is Neutron's message.
	Message string

	// RequestID is Neutron's id of the request (X-Openstack-Request-Id), by which
	// it is found in Neutron's log; empty if no answer came.
	RequestID string

	// Err is the cause, where it may be shown.
	Err error

	// unsent: nothing was sent, the caller gave something impossible.
	unsent bool
	// lied: a 200 that is not to be believed.
	lied bool
	// later: the same call can succeed later though its status does not say so.
	later bool
	// retryAfter is what the answer asked for.
	retryAfter time.Duration
}

// Error tells everything in one line; of a write also whether it may have taken
// effect, or still may.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	if e.PortID != "" {
		fmt.Fprintf(&b, " port %s", e.PortID)
	}
	if e.Host != "" {
		fmt.Fprintf(&b, " host %s", e.Host)
	}
	b.WriteString(":")
	if e.Status != 0 {
		fmt.Fprintf(&b, " %d", e.Status)
	}
	if e.Type != "" {
		fmt.Fprintf(&b, " %s", e.Type)
	}
	switch {
	case e.Message != "":
		fmt.Fprintf(&b, " %s", e.Message)
	case e.Status == 0 && e.Err != nil:
		fmt.Fprintf(&b, " %v", e.Err)
	default:
		fmt.Fprintf(&b, " %s", http.StatusText(e.Status))
	}
	if e.RequestID != "" {
		fmt.Fprintf(&b, " (%s)", e.RequestID)
	}
	switch {
	case MayStillHappen(e):
		b.WriteString("; it may still take effect")
	case OutcomeUnknown(e):
		b.WriteString("; it may have taken effect")
	}
	return b.String()
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// RetryAfter is how long the answer asks to wait before the next request
// (Retry-After, mostly with 429 or 503), 0 if it does not say. It is not bounded.
func (e *Error) RetryAfter() time.Duration { return e.retryAfter }

// Is matches the Err* variables of this package.
func (e *Error) Is(target error) bool {
	switch target {
	case ErrAlreadyActive:
		return e.Status == http.StatusConflict && e.Type == "PortBindingAlreadyActive"
	case ErrAlreadyExists:
		return e.Status == http.StatusConflict && e.Type == "PortBindingAlreadyExists"
	case ErrNotFound:
		return e.Status == http.StatusNotFound
	case ErrBindingNotFound:
		return e.Status == http.StatusNotFound && e.Type == "PortBindingNotFound"
	case ErrPortNotFound:
		return e.Status == http.StatusNotFound && e.Type == "PortNotFound"
	case ErrInternal:
		return e.Status == http.StatusInternalServerError && e.Type == "HTTPInternalServerError"
	case ErrNotBindable:
		return e.Status == http.StatusInternalServerError && e.Type == "PortBindingError"
	case ErrNotCompute:
		// "... Operation only valid on compute ports.", and in newer branches
		// "... on compute and shared filesystem ports".
		return e.Status == http.StatusBadRequest && strings.Contains(e.Message, "only valid on compute")
	case ErrForbidden:
		return e.Status == http.StatusForbidden ||
			e.Status == http.StatusInternalServerError && e.Type == "PolicyCheckError"
	case ErrUnauthorized:
		return e.Status == http.StatusUnauthorized
	case ErrChanged:
		return e.Status == http.StatusPreconditionFailed
	case ErrOtherHost:
		return e.lied
	case ErrNoAnswer:
		return e.Status == 0 && !e.unsent
	}
	return false
}

// IsTransient tells whether the very same call may succeed later: no answer came,
// Keystone was away, or the server is busy. A 500 of Neutron is not transient: the
// rows have to be read first.
func IsTransient(err error) bool {
	var e *Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return e.later || errors.Is(e, ErrNoAnswer)
}

// OutcomeUnknown tells for the error of a write whether it may have happened, or
// may still happen: it was sent and no answer came, or Neutron or a proxy failed
// (5xx), or the answer was a 200 that lies. The rows tell; [MayStillHappen] whether
// they tell it at once.
func OutcomeUnknown(err error) bool {
	var e *Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Op {
	case OpCreate, OpActivate, OpDelete, OpUpdateProfile:
	default:
		return false
	}
	if errors.Is(e, ErrNoAnswer) {
		var dial *net.OpError
		return !errors.As(e.Err, &dial) || dial.Op != "dial"
	}
	// A 2xx that is not the call's own comes from who knows where.
	success := e.Status >= http.StatusOK && e.Status < http.StatusMultipleChoices
	return success || e.Status >= http.StatusInternalServerError
}

// MayStillHappen tells for the error of a write whether it may take effect after the
// error has come, so that rows that are read now prove nothing yet: its outcome is
// unknown, and it was not Neutron that answered. Neutron finishes a request whose
// client, or whose proxy, has gone away; 502, 503 and 504 of a proxy tell what became
// of the connection and not of the request.
//
// What Neutron has answered itself is over, also with 500. Its answers are known by
// their error type, or by the request id that its first middleware adds to every
// answer (neutron/etc/api-paste.ini, request_id), also to the 503 of a
// keystonemiddleware that Keystone does not answer.
func MayStillHappen(err error) bool {
	var e *Error
	if !errors.As(err, &e) || !OutcomeUnknown(e) {
		return false
	}
	return e.Type == "" && e.RequestID == ""
}

// call is one operation: it knows what its errors have to tell.
type call struct {
	op, portID, host string
}

const (
	needPort = false
	needHost = true
)

// require refuses empty parts of a URL: without its port a URL names all ports.
func (c call) require(host bool) error {
	switch {
	case c.portID == "":
		return c.refuse(missingInput("portID"))
	case host && c.host == "":
		return c.refuse(missingInput("host"))
	}
	return nil
}

// refuse makes an *Error of what was not sent.
func (c call) refuse(err error) error {
	return &Error{Op: c.op, PortID: c.portID, Host: c.host, Err: err, unsent: true}
}

// finish fills a result from what gophercloud returned.
func (c call) finish(r *gophercloud.Result, resp *http.Response, err error) {
	if resp != nil {
		r.StatusCode = resp.StatusCode
		r.Header = resp.Header
	}
	if err != nil {
		r.Err = c.fail(err)
	}
}

// believe returns an error if an answer of activate is not about the row that was
// asked for.
func (c call) believe(r ActivateResult) error {
	e := &Error{
		Op: c.op, PortID: c.portID, Host: c.host,
		Status: r.StatusCode, RequestID: r.RequestID(), lied: true,
	}
	row, err := r.Extract()
	switch {
	case err != nil:
		e.Message, e.Err = "the answer is not a row", err
	case row.Host != c.host || !row.Active():
		e.Message = fmt.Sprintf("the answer is the row of host %q, status %q", row.Host, row.Status)
	default:
		return nil
	}
	return e
}

// holds has a result hold the parts of its answer, and fails one that does not hold what it
// is to: a page of a proxy, for example. To take it for an empty list of rows would be a
// mistake that a write could follow.
func (c call) holds(r *gophercloud.Result, body json.RawMessage, key string) {
	if r.Err != nil {
		return
	}
	var answer parts
	if json.Unmarshal(body, &answer) == nil && answer.has(key) {
		r.Body = answer
		return
	}
	r.Err = &Error{
		Op: c.op, PortID: c.portID, Host: c.host, lied: true,
		Status: r.StatusCode, RequestID: requestID(r.Header), Message: "the answer has no " + key,
	}
}

// fail makes an *Error of whatever gophercloud returned.
func (c call) fail(err error) error {
	e := &Error{Op: c.op, PortID: c.portID, Host: c.host}

	var reauth *gophercloud.ErrUnableToReauthenticate
	if errors.As(err, &reauth) {
		return e.reauthFailed(reauth)
	}

	e.Err = err
	var code gophercloud.ErrUnexpectedResponseCode
	if errors.As(err, &code) {
		e.Status = code.Actual
		e.RequestID = requestID(code.ResponseHeader)
		e.Type, e.Message = neutronError(code.Body)
		e.retryAfter = retryAfter(code.ResponseHeader)
	}
	e.unsent = errors.Is(err, ErrWithheld)
	return e
}

// reauthFailed tells about a token that expired and could not be renewed, without
// Keystone's answer, which can quote the request.
func (e *Error) reauthFailed(reauth *gophercloud.ErrUnableToReauthenticate) *Error {
	e.Status = http.StatusUnauthorized
	var code gophercloud.ErrUnexpectedResponseCode
	if errors.As(reauth.ErrOriginal, &code) {
		e.RequestID = requestID(code.ResponseHeader)
	}
	if errors.As(reauth.ErrReauth, &code) {
		e.Message = fmt.Sprintf("the token was refused, and keystone answered %d (%s)", code.Actual, requestID(code.ResponseHeader))
		e.later = code.Actual >= http.StatusInternalServerError || code.Actual == http.StatusTooManyRequests
		return e
	}
	e.Message = fmt.Sprintf("the token was refused, and keystone gave no new one: %v", reauth.ErrReauth)
	e.later = true
	return e
}

// neutronError reads {"NeutronError": {"type": ..., "message": ...}}. Some errors,
// a policy's among them, have a plain string there.
func neutronError(body []byte) (kind, message string) {
	var answer struct {
		NeutronError json.RawMessage
	}
	if json.Unmarshal(body, &answer) != nil || answer.NeutronError == nil {
		return "", ""
	}
	var e struct{ Type, Message string }
	if json.Unmarshal(answer.NeutronError, &e) == nil {
		return e.Type, e.Message
	}
	_ = json.Unmarshal(answer.NeutronError, &message)
	return "", message
}

// setupFailed drops the body of the answer: Keystone's can quote the request.
func setupFailed(op string, err error) error {
	e := &Error{Op: op}
	var code gophercloud.ErrUnexpectedResponseCode
	var transport *url.Error
	switch {
	case errors.As(err, &code) && op == OpAuthenticate && !keystones(code):
		e.Err, e.unsent = fmt.Errorf("%w (%d, %s)", errNotKeystone, code.Actual, mediaType(code.ResponseHeader)), true
	case errors.As(err, &code):
		e.Status = code.Actual
		e.RequestID = requestID(code.ResponseHeader)
		e.later = code.Actual >= http.StatusInternalServerError
	case errors.As(err, &transport):
		e.Err = err
	case op == OpAuthenticate: // an answer of the right status, and not what it is to hold
		e.Err, e.unsent = fmt.Errorf("%w (%w)", errNotKeystone, err), true
	default:
		e.Err, e.unsent = err, true
	}
	return e
}

// keystones tells whether a status that is not the one asked for may be Keystone's, or that of a
// proxy in whose place Keystone is away. Keystone redirects nobody, and what it refuses it tells in
// JSON with the id of the request.
func keystones(code gophercloud.ErrUnexpectedResponseCode) bool {
	switch {
	case code.Actual < http.StatusBadRequest:
		return false
	case code.Actual == http.StatusUnauthorized, code.Actual == http.StatusForbidden, code.Actual == http.StatusTooManyRequests,
		code.Actual >= http.StatusInternalServerError:
		return true
	}
	return requestID(code.ResponseHeader) != "" || mediaType(code.ResponseHeader) == "application/json"
}

// mediaType is what an answer says that it holds, as "text/plain".
func mediaType(h http.Header) string {
	kind, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil {
		return "of no type"
	}
	return kind
}

// Next tells in a line what to look at where [NewClient] or [NewProvider] has met no cloud, or a service
// of its catalog has not answered; empty for what tells it itself.
func Next(err error) string {
	e := &Error{}
	_ = errors.As(err, &e)
	who, address := "the service", "its URL in the catalog, for that region and interface,"
	if e.Op == OpAuthenticate {
		who, address = "Keystone", "the URL"
	}
	var (
		transport *url.Error
		missing   *gophercloud.ErrEndpointNotFound
		dns       *net.DNSError
		noTLS     tls.RecordHeaderError
		authority x509.UnknownAuthorityError
		name      x509.HostnameError
		invalid   x509.CertificateInvalidError
	)
	switch {
	case errors.Is(err, errNotKeystone), e.Op == OpAuthenticate && e.Status == http.StatusNotFound:
		return "is the URL Keystone's, with /v3?"
	case e.Status == http.StatusUnauthorized:
		return "user, password, project or domain is not right: OS_* or the entry of clouds.yaml"
	case e.Status >= http.StatusInternalServerError, e.Status == http.StatusTooManyRequests:
		return "does " + who + " run? Its log tells why, or that of the proxy before it"
	case errors.As(err, &dns) && dns.IsNotFound:
		return "does this host know the name, is " + address + " right?"
	case errors.As(err, &noTLS), errors.Is(err, http.ErrSchemeMismatch):
		return "is " + address + " one of http:// in place of https://?"
	case errors.As(err, &authority), errors.As(err, &name), errors.As(err, &invalid):
		return "are OS_CACERT, or cacert of the entry, and EARLYBIND_OS_SERVER_NAME right for its certificate?"
	case errors.As(err, &transport):
		return "does " + who + " run there, may this host reach it, is " + address + " right?"
	case errors.As(err, &missing):
		return "are region and interface right: OS_REGION_NAME and OS_INTERFACE, or region_name and interface of the entry?"
	}
	return ""
}

// Brief tells in a line what another call than this package's, or another service, has
// answered: an [*Error] with its message as Nova gives it, and never the page of a proxy.
// What is no answer it leaves as it is.
func Brief(err error) error {
	var reauth *gophercloud.ErrUnableToReauthenticate
	if errors.As(err, &reauth) {
		return (&Error{Op: OpAuthenticate}).reauthFailed(reauth)
	}
	var code gophercloud.ErrUnexpectedResponseCode
	if !errors.As(err, &code) {
		return err
	}
	return &Error{Op: code.Method + " " + code.URL, Status: code.Actual, Message: novaMessage(code.Body), RequestID: requestID(code.ResponseHeader)}
}

// novaMessage reads {"forbidden": {"code": 403, "message": ...}}; empty if it is none such.
func novaMessage(body []byte) string {
	var answer map[string]struct{ Message string }
	if json.Unmarshal(body, &answer) != nil || len(answer) != 1 {
		return ""
	}
	for _, fault := range answer {
		return strings.Join(strings.Fields(fault.Message), " ")
	}
	return ""
}

// retryAfter reads seconds, or a date, which it compares with the server's own.
func retryAfter(h http.Header) time.Duration {
	value := h.Get("Retry-After")
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	until, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	now, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return 0
	}
	return max(0, until.Sub(now))
}

func requestID(h http.Header) string { return h.Get("X-Openstack-Request-Id") }

func missingInput(name string) error { return gophercloud.ErrMissingInput{Argument: name} }
