package ovs

import "encoding/json"

// row is a row's columns in the notation of RFC 7047, section 5.1, which is the
// same in what a monitor says and in what an insert takes: a row that is not
// looked into is put back as it was.
type row map[string]json.RawMessage

// text gives a column that holds one string or none.
func (r row) text(column string) string {
	var s string
	if json.Unmarshal(r[column], &s) != nil {
		return "" // the empty set
	}
	return s
}

// number gives a column that holds one integer or none.
func (r row) number(column string) (n int, ok bool) {
	return n, len(r[column]) > 0 && json.Unmarshal(r[column], &n) == nil
}

// flag gives a column that holds a boolean.
func (r row) flag(column string) bool {
	var b bool
	return json.Unmarshal(r[column], &b) == nil && b
}

// texts gives a column that maps strings to strings.
func (r row) texts(column string) map[string]string {
	var pairs [][2]string
	if json.Unmarshal(tagged(r[column], "map"), &pairs) != nil {
		return nil
	}
	m := make(map[string]string, len(pairs))
	for _, p := range pairs {
		m[p[0]] = p[1]
	}
	return m
}

// empty tells whether a column is the empty set, or is not there.
func (r row) empty(column string) bool {
	if len(r[column]) == 0 {
		return true
	}
	var members []json.RawMessage
	return json.Unmarshal(tagged(r[column], "set"), &members) == nil && len(members) == 0
}

// uuids gives a column that refers to rows, any number of them: one is written
// as itself, others as a set.
func (r row) uuids(column string) []string {
	// Not decoded over r[column]: RawMessage writes into the bytes it has.
	var members []json.RawMessage
	if set := tagged(r[column], "set"); set == nil {
		members = append(members, r[column])
	} else if json.Unmarshal(set, &members) != nil {
		return nil
	}
	var all []string
	for _, m := range members {
		var id string
		if json.Unmarshal(tagged(m, "uuid"), &id) == nil {
			all = append(all, id)
		}
	}
	return all
}

// tagged gives the second half of ["tag", value]; nil if it is none.
func tagged(raw json.RawMessage, tag string) json.RawMessage {
	var pair []json.RawMessage
	var first string
	if json.Unmarshal(raw, &pair) != nil || len(pair) != 2 || json.Unmarshal(pair[0], &first) != nil || first != tag {
		return nil
	}
	return pair[1]
}
