package neutron

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/earlybind/earlybind/binding"
)

// answer is what a call answers; a nil body is none.
type answer struct {
	status int
	body   any
}

// request is what a call is asked.
type request struct {
	*http.Request
	portID, host string
	raw          []byte
	body         map[string]any
	between      func()
	id           string // Neutron's id of the request
}

// carry carries a call out, unless its fault forbids, and picks the answer.
func (n *Neutron) carry(op string, req request, fault Fault) reply {
	var a answer
	switch {
	case req.Header.Get("X-Auth-Token") != Token:
		a = answer{http.StatusUnauthorized, map[string]any{"error": map[string]any{
			"code": http.StatusUnauthorized, "title": "Unauthorized",
			"message": "The request you have made requires authentication.",
		}}}
	case fault.replaces() && !fault.Apply:
		// What is cut in half has to be something.
		a = answer{http.StatusServiceUnavailable, map[string]any{}}
	case len(req.raw) > 0 && op == binding.OpActivate:
		a = internal() // even {} does that
	default:
		n.mu.Lock()
		a = n.allowed(req, n.calls()[op])
		n.mu.Unlock()
	}
	return fault.answer(a.reply(req.id), req.id)
}

// calls are what carries the calls out; n.mu is held while one runs.
func (n *Neutron) calls() map[string]func(request) answer {
	return map[string]func(request) answer{
		binding.OpExtensions:    n.listExtensions,
		binding.OpListPorts:     n.listPorts,
		binding.OpGetPort:       n.getPort,
		binding.OpUpdateProfile: n.updatePort,
		binding.OpList:          n.listRows,
		binding.OpCreate:        n.createRow,
		binding.OpGet:           n.getRow,
		binding.OpDelete:        n.deleteRow,
		binding.OpActivate:      n.activate,
		"":                      func(request) answer { return answer{http.StatusNotFound, nil} },
	}
}

// answer puts what the fault answers in the place of what the call would have.
func (f Fault) answer(a reply, id string) reply {
	switch {
	case f.Gateway:
		page := fmt.Sprintf("<html><body><h1>%d %s</h1></body></html>\n", f.Status, http.StatusText(f.Status))
		return reply{f.Status, http.Header{"Content-Type": {"text/html"}}, []byte(page)}
	case f.Body != nil:
		return answer{cmp.Or(f.Status, http.StatusOK), f.Body}.reply(id)
	case f.Status != 0:
		return fail(f.Status, f.Type, f.Message).reply(id)
	}
	return a
}

func (n *Neutron) allowed(req request, do func(request) answer) answer {
	if n.forbidden && req.Method != http.MethodGet {
		rule := "rule:create_port_binding"
		switch {
		case strings.HasSuffix(req.URL.Path, "/activate"):
			rule = "rule:activate"
		case req.Method == http.MethodDelete:
			rule = "rule:delete_port_binding"
		case req.Method == http.MethodPut:
			rule = "(rule:update_port and rule:update_port:binding:profile)"
		}
		return fail(http.StatusForbidden, "PolicyNotAuthorized", rule+" is disallowed by policy")
	}
	return do(req)
}

func (a answer) reply(id string) reply {
	r := reply{status: a.status, header: http.Header{"X-Openstack-Request-Id": {id}}}
	if a.body != nil {
		r.header.Set("Content-Type", "application/json")
		r.body, _ = json.Marshal(a.body)
	}
	return r
}

func run(f func()) {
	if f != nil {
		f()
	}
}

func fail(status int, kind, message string) answer {
	return answer{status, map[string]any{"NeutronError": map[string]any{
		"type": kind, "message": message, "detail": "",
	}}}
}

func internal() answer {
	return fail(http.StatusInternalServerError, "HTTPInternalServerError",
		"Request Failed: internal server error while processing your request.")
}

func portNotFound(portID string) answer {
	return fail(http.StatusNotFound, "PortNotFound", fmt.Sprintf("Port %s could not be found.", portID))
}

func rowNotFound(portID, host string) answer {
	return fail(http.StatusNotFound, "PortBindingNotFound",
		fmt.Sprintf("Binding for port %s for host %s could not be found.", portID, host))
}

func alreadyActive(portID, host string) answer {
	return fail(http.StatusConflict, "PortBindingAlreadyActive",
		fmt.Sprintf("Binding for port %s on host %s is already active.", portID, host))
}

// computePort finds the port of a call on bindings, or the answer if there is none
// or it is not an instance's.
func (n *Neutron) computePort(req request) (*port, answer, bool) {
	p := n.ports[req.portID]
	switch {
	case p == nil:
		return nil, portNotFound(req.portID), false
	case !strings.HasPrefix(p.owner, "compute:"):
		return nil, fail(http.StatusBadRequest, "BadRequest", fmt.Sprintf(
			"Bad port request: Invalid port %s. Operation only valid on compute ports.", p.id)), false
	}
	return p, answer{}, true
}

func (n *Neutron) listRows(req request) answer {
	p, a, ok := n.computePort(req)
	if !ok {
		return a
	}
	rows := []any{}
	for _, r := range p.sorted() {
		rows = append(rows, r.body())
	}
	return answer{http.StatusOK, map[string]any{"bindings": rows}}
}

func (n *Neutron) getRow(req request) answer {
	p, a, ok := n.computePort(req)
	if !ok {
		return a
	}
	if r := p.rows[req.host]; r != nil {
		return answer{http.StatusOK, map[string]any{"binding": r.body()}}
	}
	return rowNotFound(p.id, req.host)
}

func (n *Neutron) createRow(req request) answer {
	if n.ports[req.portID] == nil && !n.old {
		return internal()
	}
	p, a, ok := n.computePort(req)
	if !ok {
		return a
	}
	attrs, _ := req.body["binding"].(map[string]any)
	if req.host == "" {
		return fail(http.StatusBadRequest, "HTTPBadRequest",
			"Failed to parse request. Required attribute 'host' not specified.")
	}
	if p.rows[req.host] != nil {
		return fail(http.StatusConflict, "PortBindingAlreadyExists",
			fmt.Sprintf("Binding for port %s on host %s already exists.", p.id, req.host))
	}
	r := &row{host: req.host, status: binding.StatusInactive, vnicType: "normal", profile: map[string]any{}}
	if v, ok := attrs["vnic_type"].(string); ok {
		r.vnicType = v
	}
	if v, ok := attrs["profile"].(map[string]any); ok {
		r.profile = v
	}
	bound := n.bind(r)
	if p.active() == nil {
		// ACTIVE at once, and no agent is told. If it cannot be bound it stays there
		// all the same, and without a profile nobody hears that it has failed.
		r.status, p.status = binding.StatusActive, binding.PortDown
		p.rows[r.host] = r
		if !bound && len(r.profile) == 0 {
			r.unbind()
			bound = true
		}
	}
	if !bound {
		return fail(http.StatusInternalServerError, "PortBindingError",
			fmt.Sprintf("Binding for port %s on host %s could not be created or updated.", p.id, r.host))
	}
	p.rows[r.host] = r
	p.revision += 2
	return answer{http.StatusCreated, map[string]any{"binding": r.body()}}
}

func (n *Neutron) deleteRow(req request) answer {
	p, a, ok := n.computePort(req)
	if !ok {
		return a
	}
	if p.rows[req.host] == nil {
		return rowNotFound(p.id, req.host)
	}
	delete(p.rows, req.host)
	p.revision += 2
	return answer{http.StatusNoContent, nil}
}

// activate is two transactions, as in Neutron.
func (n *Neutron) activate(req request) answer {
	p, a, ok := n.computePort(req)
	if !ok {
		return a
	}
	old, target := p.active(), p.rows[req.host]
	switch {
	case old != nil && old.host == req.host:
		return alreadyActive(p.id, req.host)
	case target == nil:
		return rowNotFound(p.id, req.host)
	case old == nil:
		return internal()
	}
	before := old.body()
	old.unbind()
	p.status = binding.PortDown
	p.revision++

	if req.between != nil {
		n.mu.Unlock()
		req.between()
		n.mu.Lock()
	}

	current := p.active()
	switch {
	case n.ports[p.id] == nil || current == nil:
		// The 200 that lies: the row that was ACTIVE when the call came.
		return answer{http.StatusOK, before}
	case current.host == req.host && n.old:
		return internal()
	case current.host == req.host:
		return alreadyActive(p.id, req.host)
	case p.rows[req.host] != target:
		return internal()
	}
	current.status, target.status = binding.StatusInactive, binding.StatusActive
	p.revision++
	n.tellAgent(p, target)
	return answer{http.StatusOK, target.body()}
}

func (n *Neutron) tellAgent(p *port, r *row) {
	if n.autoWire && r.bound() {
		p.status = binding.PortActive
	}
}

func (n *Neutron) getPort(req request) answer {
	p := n.ports[req.portID]
	if p == nil {
		return portNotFound(req.portID)
	}
	return answer{http.StatusOK, map[string]any{"port": only(p.body(), req.URL.Query()["fields"])}}
}

func (n *Neutron) listPorts(req request) answer {
	query := req.URL.Query()
	fits := func(key string, got ...string) bool {
		want, filtered := query[key]
		return !filtered || slices.ContainsFunc(want, func(w string) bool { return slices.Contains(got, w) })
	}
	list := []any{}
	ids := make([]string, 0, len(n.ports))
	for id := range n.ports {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		p := n.ports[id]
		var hosts []string
		for host := range p.rows {
			hosts = append(hosts, host)
		}
		// The filter on a host finds INACTIVE rows too.
		if fits("id", p.id) && fits("device_id", p.deviceID) && fits("binding:host_id", hosts...) {
			list = append(list, only(p.body(), query["fields"]))
		}
	}
	return answer{http.StatusOK, map[string]any{"ports": list}}
}

func only(body map[string]any, fields []string) map[string]any {
	if len(fields) > 0 {
		for key := range body {
			if !slices.Contains(fields, key) {
				delete(body, key)
			}
		}
	}
	return body
}

func (n *Neutron) updatePort(req request) answer {
	p := n.ports[req.portID]
	var r *row
	if p != nil {
		r = p.active()
	}
	if r == nil {
		return portNotFound(req.portID)
	}
	attrs, _ := req.body["port"].(map[string]any)
	for key := range attrs {
		// The ACTIVE row's own host and owner change nothing, but that the row is bound.
		same := key == "binding:host_id" && attrs[key] == r.host || key == "device_owner" && attrs[key] == p.owner
		if key != "binding:profile" && key != "name" && !same {
			return fail(http.StatusNotImplemented, "NotImplemented", "neutron: update of "+key)
		}
	}
	match := req.Header.Get("If-Match")
	if match != "" && match != fmt.Sprintf("revision_number=%d", p.revision) {
		// code: neutron/services/revisions/revision_plugin.py
		return fail(http.StatusPreconditionFailed, "RevisionNumberConstraintFailed", fmt.Sprintf(
			"Constrained to %s, but current revision is %d", strings.TrimPrefix(match, "revision_number="), p.revision))
	}
	if value, given := attrs["binding:profile"]; given {
		profile, _ := value.(map[string]any) // null clears it
		if profile == nil {
			profile = map[string]any{}
		}
		if n.old && match != "" && !r.bound() && reflect.DeepEqual(profile, r.profile) {
			// Neutron 21.0.0 binds first, and then finds the revision changed (run).
			return fail(http.StatusPreconditionFailed, "RevisionNumberConstraintFailed", fmt.Sprintf(
				"Constrained to %d, but current revision is %d", p.revision, p.revision+1))
		}
		if !reflect.DeepEqual(profile, r.profile) {
			r.profile = profile
			r.unbind()
			p.status = binding.PortDown
			p.revision++
		}
	}
	if !r.bound() {
		p.revision++
		if n.bind(r) {
			n.tellAgent(p, r)
		}
	}
	return answer{http.StatusOK, map[string]any{"port": p.body()}}
}

func (n *Neutron) listExtensions(request) answer {
	aliases := []string{"binding", "binding-extended", "revision-if-match", "standard-attr-revisions"}
	if !n.old {
		aliases = append(aliases, "security-groups-default-rules")
	}
	list := []any{}
	for _, alias := range aliases {
		list = append(list, map[string]any{
			"name": alias, "alias": alias, "description": "", "updated": "2017-07-17T10:00:00-00:00", "links": []any{},
		})
	}
	return answer{http.StatusOK, map[string]any{"extensions": list}}
}
