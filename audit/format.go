package audit

// Schema is the version of the line format, in every line as "schema".
const Schema = 1

// stamp is how times are written: UTC, microseconds.
const stamp = "2006-01-02T15:04:05.000000Z07:00"

// text is a field of a line that is plain text; an empty one is left out.
type text struct {
	name string
	of   func(*Line) *string
}

// handoverTexts are written of a line that belongs to an instance, texts of every
// line, in this order. [Log.Record] writes by them and [Parse] reads by them.
var (
	handoverTexts = [...]text{
		{"instance", func(l *Line) *string { return &l.Handover.Instance }},
		{"request_id", func(l *Line) *string { return &l.Handover.RequestID }},
		{"source", func(l *Line) *string { return &l.Handover.Source }},
		{"destination", func(l *Line) *string { return &l.Handover.Destination }},
	}
	texts = [...]text{
		{"kind", func(l *Line) *string { return (*string)(&l.Kind) }},
		{"phase", func(l *Line) *string { return &l.Phase }},
		{"port", func(l *Line) *string { return &l.Port }},
		{"driver", func(l *Line) *string { return &l.Driver }},
		{"flavor", func(l *Line) *string { return &l.Flavor }},
		{"host", func(l *Line) *string { return &l.Host }},
		{"saw", func(l *Line) *string { return &l.Saw }},
		{"decided", func(l *Line) *string { return &l.Decided }},
		{"outcome", func(l *Line) *string { return &l.Outcome }},
		{"why", func(l *Line) *string { return &l.Why }},
	}
)

// named are the fields that are not figures.
var named = func() map[string]bool {
	names := map[string]bool{
		"time": true, "level": true, "schema": true, "replica": true, "event": true, "broker": true, "share": true, "handover": true,
		"error": true, "took_ms": true, "at": true,
	}
	for _, table := range [...][]text{handoverTexts[:], texts[:]} {
		for _, f := range table {
			names[f.name] = true
		}
	}
	return names
}()
