package main

import (
	"errors"
	"flag"
	"strings"
)

// idFlag defines an option that takes an id, as [idOf] reads it.
func idFlag(f *flag.FlagSet, to *string, name, prefix, what, usage string) {
	f.Func(name, usage, func(id string) (err error) {
		*to, err = idOf(id, prefix, what)
		return err
	})
}

// idsFlag is [idFlag] of an option that may be given again, without a prefix.
func idsFlag(f *flag.FlagSet, to *[]string, name, what, usage string) {
	f.Func(name, usage, func(text string) error {
		id, err := idOf(text, "", what)
		*to = append(*to, id)
		return err
	})
}

// idOf reads an id, a UUID behind a prefix that may be empty, in upper or lower case: logs and Neutron have it in lower
// case. what says what it is.
func idOf(text, prefix, what string) (string, error) {
	id := strings.ToLower(text)
	if uuid, ok := strings.CutPrefix(id, prefix); !ok || !portID.MatchString(uuid) {
		return id, errors.New("it must be " + what)
	}
	return id, nil
}
