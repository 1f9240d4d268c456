package main

import (
	"errors"
	"flag"
	"strings"
)

// idFlag defines an option that takes an id, a UUID behind a prefix that may be empty, in upper or lower case: logs have
// it in lower case. what says what it is.
func idFlag(f *flag.FlagSet, to *string, name, prefix, what, usage string) {
	f.Func(name, usage, func(id string) error {
		*to = strings.ToLower(id)
		if uuid, ok := strings.CutPrefix(*to, prefix); !ok || !portID.MatchString(uuid) {
			return errors.New("it must be " + what)
		}
		return nil
	})
}
