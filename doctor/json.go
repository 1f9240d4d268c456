package doctor

import (
	"encoding/json"
	"io"

	"github.com/earlybind/earlybind/port"
)

// Version is the version of a report as JSON. It rises when a field changes its meaning, not
// when one is added.
const Version = 1

// JSON writes a report for machines: what [Report.Text] tells people, and what became of the
// cases that were mended; mended is nil where nothing was to be.
func (r Report) JSON(w io.Writer, mended []Mended) error {
	document := reportJSON{
		Version: Version, Hosts: append([]string{}, r.Hosts...), Ports: r.Ports, Gap: r.Gap, Silent: r.Silent, Wrong: len(r.Wrong()), Cases: []caseJSON{},
	}
	for _, c := range r.Cases {
		document.Cases = append(document.Cases, c.json())
	}
	for _, m := range mended {
		document.Mended = append(document.Mended, mendedJSON{Case: m.json(), Outcome: m.Outcome, Right: m.Right})
	}
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", " ")
	return encoder.Encode(document)
}

type reportJSON struct {
	Version int          `json:"earlybind_doctor_report"`
	Hosts   []string     `json:"hosts"`
	Ports   int          `json:"ports"`            // of instances, in all
	Gap     string       `json:"gap,omitempty"`    // why Nova's word is not whole
	Silent  []string     `json:"silent,omitempty"` // hosts whose publisher was asked and has not answered
	Wrong   int          `json:"wrong"`            // of the cases
	Cases   []caseJSON   `json:"cases"`            // those in flight too
	Mended  []mendedJSON `json:"mended,omitempty"` // as they were found at last
}

type caseJSON struct {
	Port     string     `json:"port"`
	Instance string     `json:"instance"`
	Status   string     `json:"status"` // the port's
	Driver   string     `json:"driver,omitempty"`
	Rows     []rowJSON  `json:"rows"`
	Server   *Server    `json:"server,omitempty"`
	SeenOn   []string   `json:"seen_on,omitempty"` // where publishers see the guest
	Incoming []string   `json:"incoming_on,omitempty"`
	Wrong    bool       `json:"wrong"`
	Plan     []stepJSON `json:"plan"`
	Finding
}

type rowJSON struct {
	Host        string `json:"host"`
	Status      string `json:"status"` // ACTIVE or INACTIVE
	VIFType     string `json:"vif_type"`
	VNICType    string `json:"vnic_type"`
	MigratingTo string `json:"migrating_to,omitempty"`
}

// stepJSON is a step of a plan; Request is none of Neutron's where something is written down.
type stepJSON struct {
	Action  string `json:"action"`
	Host    string `json:"host"`
	Request string `json:"request,omitempty"`
	Why     string `json:"why,omitempty"`
}

type mendedJSON struct {
	Case    caseJSON `json:"case"`
	Outcome string   `json:"outcome"`
	Right   bool     `json:"right"`
}

func (c Case) json() caseJSON {
	out := caseJSON{
		Port: c.Port.ID, Instance: c.Port.Device, Status: c.Port.Status, Driver: c.Port.Driver, Rows: []rowJSON{}, Server: c.Server,
		SeenOn: c.Sighting.On, Incoming: c.Sighting.Incoming, Wrong: c.Verdict.Wrong(), Plan: []stepJSON{}, Finding: c.Finding,
	}
	for _, r := range c.Port.Rows {
		out.Rows = append(out.Rows, rowJSON{Host: r.Host, Status: rowStatus(r), VIFType: r.VIFType, VNICType: r.VNICType, MigratingTo: r.MigratingTo()})
	}
	for _, s := range c.Plan {
		out.Plan = append(out.Plan, stepJSON{Action: s.Action.String(), Host: s.Host, Request: s.Request(c.Port.ID), Why: s.Why})
	}
	return out
}

func rowStatus(r port.Row) string {
	if r.Active {
		return "ACTIVE"
	}
	return "INACTIVE"
}
