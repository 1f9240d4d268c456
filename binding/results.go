package binding

import (
	"bytes"
	"encoding/json"
	"maps"

	"github.com/gophercloud/gophercloud/v2"
)

// Status of a row.
const (
	StatusActive   = "ACTIVE"
	StatusInactive = "INACTIVE"
)

// VIF types of a row that no host can use; all others mean that it is bound.
const (
	// VIFTypeUnbound: not bound, or unbound when another row was activated.
	VIFTypeUnbound = "unbound"
	// VIFTypeBindingFailed: no mechanism driver could bind it. An update of the
	// port tries again.
	VIFTypeBindingFailed = "binding_failed"
)

// ProfileMigratingTo is the key in the profile of the ACTIVE row by which Nova
// tells Neutron the destination of a live migration.
const ProfileMigratingTo = "migrating_to"

// Binding is one row: what one port is, or would be, on one host.
type Binding struct {
	// Host is the host of the agent. Empty for a port that was never bound.
	Host string `json:"host"`

	// Status is the status of the row, not of the port.
	Status string `json:"status"`

	// VIFType is how the port is plugged there.
	VIFType string `json:"vif_type"`

	// VIFDetails is what the mechanism driver tells about it; numbers are
	// json.Number.
	VIFDetails map[string]any `json:"vif_details"`

	// VNICType is the type of the virtual NIC, mostly "normal".
	VNICType string `json:"vnic_type"`

	// Profile is what the host was told about it; numbers are json.Number.
	Profile map[string]any `json:"profile"`
}

// UnmarshalJSON keeps the numbers of Profile and VIFDetails as they were sent.
func (b *Binding) UnmarshalJSON(data []byte) error {
	type plain Binding
	return decodeNumbers(data, (*plain)(b))
}

// Active tells whether this is the port's ACTIVE row.
func (b Binding) Active() bool { return b.Status == StatusActive }

// Bound tells whether a mechanism driver has bound the row to its host.
func (b Binding) Bound() bool { return bound(b.Host, b.VIFType) }

// MigratingTo is the destination of the live migration that the profile tells of,
// or "".
func (b Binding) MigratingTo() string { return migratingTo(b.Profile) }

// ActiveRow picks the ACTIVE row; a port can be without one.
func ActiveRow(rows []Binding) (Binding, bool) {
	for _, row := range rows {
		if row.Active() {
			return row, true
		}
	}
	return Binding{}, false
}

// RowOn picks the row of one host.
func RowOn(rows []Binding, host string) (Binding, bool) {
	for _, row := range rows {
		if row.Host == host {
			return row, true
		}
	}
	return Binding{}, false
}

// WithoutMigratingTo copies a profile without [ProfileMigratingTo]; it is never
// nil. All other keys stay: Nova's os_vif_delegation among them.
func WithoutMigratingTo(profile map[string]any) map[string]any {
	clone := make(map[string]any, len(profile))
	maps.Copy(clone, profile)
	delete(clone, ProfileMigratingTo)
	return clone
}

// parts are what stands in an answer under each key, as it was sent. Gophercloud's own
// extraction decodes an answer into maps, encodes these and decodes that: for ports and rows,
// of which many may be read at once, it cost more than all else.
type parts map[string]json.RawMessage

func (p parts) has(key string) bool { return len(p[key]) > 0 && string(p[key]) != "null" }

// extract reads a part of a result.
func extract(r gophercloud.Result, key string, to any) error {
	if r.Err != nil {
		return r.Err
	}
	answer, _ := r.Body.(parts)
	if !answer.has(key) {
		return nil
	}
	return json.Unmarshal(answer[key], to)
}

type commonResult struct {
	gophercloud.Result
}

// Extract interprets the result as a row.
func (r commonResult) Extract() (*Binding, error) {
	var row Binding
	if err := extract(r.Result, "binding", &row); err != nil {
		return nil, err
	}
	return &row, nil
}

// RequestID is Neutron's id of the request, also of one that succeeded.
func (r commonResult) RequestID() string { return requestID(r.Header) }

// GetResult is the answer of Get.
type GetResult struct{ commonResult }

// CreateResult is the answer of Create.
type CreateResult struct{ commonResult }

// ActivateResult is the answer of Activate, which, unlike all others, is not
// wrapped in "binding".
type ActivateResult struct{ commonResult }

// Extract interprets the result as a row.
func (r ActivateResult) Extract() (*Binding, error) {
	if r.Err != nil {
		return nil, r.Err
	}
	var row Binding
	if err := r.ExtractInto(&row); err != nil {
		return nil, err
	}
	return &row, nil
}

// ListResult is the answer of List.
type ListResult struct{ commonResult }

// Extract interprets the result as rows.
func (r ListResult) Extract() ([]Binding, error) {
	var rows []Binding
	err := extract(r.Result, "bindings", &rows)
	return rows, err
}

// DeleteResult is the answer of Delete.
type DeleteResult struct{ gophercloud.ErrResult }

// RequestID is Neutron's id of the request, also of one that succeeded.
func (r DeleteResult) RequestID() string { return requestID(r.Header) }

func bound(host, vifType string) bool {
	return host != "" && vifType != "" && vifType != VIFTypeUnbound && vifType != VIFTypeBindingFailed
}

func migratingTo(profile map[string]any) string {
	host, _ := profile[ProfileMigratingTo].(string)
	return host
}

func decodeNumbers(data []byte, to any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	return d.Decode(to)
}
