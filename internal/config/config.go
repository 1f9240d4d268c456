// Package config reads a program's settings from the environment.
//
// A program declares a struct; [Load] fills it and answers with every fault at
// once, so that an operator mends them in one go. Around envconfig, which does
// the parsing, it adds what a service needs and envconfig lacks:
//
//   - all faults are reported together, not only the first;
//   - a value of type [Secret] never shows in an error or a log, and may come
//     from the file that NAME_FILE names;
//   - a variable with the prefix that no setting has is refused, with the setting
//     that it looks like: a misspelt setting must not be a silent no-op;
//   - Validate is called where the struct has one, faults of parsing or not.
package config

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"unicode"

	"github.com/kelseyhightower/envconfig"
)

// Secret is a value that prints as "***" wherever it is printed.
type Secret string

const redacted = "***"

// String hides the value.
func (Secret) String() string { return redacted }

// GoString hides the value from %#v.
func (Secret) GoString() string { return redacted }

// MarshalText hides the value from JSON and every other encoder.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Reveal gives the value itself, for the one call that needs it.
func (s Secret) Reveal() string { return string(s) }

var secretType = reflect.TypeFor[Secret]()

// ErrRequired marks the faults of what is required and was not given.
var ErrRequired = errors.New("is required")

// Load fills the structs that into points to from variables named
// PREFIX_FIELD_NAME. The error joins every fault found.
//
// Fields are plain (no nested structs but embedded ones); their tags are
// envconfig's `default` and `required`. A required value must not be empty.
func Load(prefix string, into ...any) error {
	l := loader{prefix: prefix}
	for _, settings := range into {
		l.fill(reflect.ValueOf(settings).Elem())
	}
	l.add(RefuseUnknown(prefix, into...))
	for _, settings := range into {
		if v, ok := settings.(interface{ Validate() error }); ok {
			l.add(v.Validate())
		}
	}
	return errors.Join(l.faults...)
}

type loader struct {
	prefix string
	faults []error
}

func (l *loader) add(err error) {
	if err != nil {
		l.faults = append(l.faults, err)
	}
}

func (l *loader) fill(s reflect.Value) {
	each(l.prefix, s, func(v reflect.Value, field reflect.StructField, name string) {
		if field.Type == secretType {
			l.fillSecret(v, field, name)
		} else {
			l.fillPlain(v, field, name)
		}
	})
}

// fromFile ends the name of the variable that names a secret's file.
const fromFile = "_FILE"

// each visits the fields of a struct that are settings, with their variables' names.
func each(prefix string, s reflect.Value, visit func(v reflect.Value, field reflect.StructField, name string)) {
	for i := range s.NumField() {
		field := s.Type().Field(i)
		if field.Anonymous && field.Type.Kind() == reflect.Struct {
			each(prefix, s.Field(i), visit)
			continue
		}
		visit(s.Field(i), field, prefix+"_"+screamingSnake(field.Name))
	}
}

// Variable is a setting as an operator knows it.
type Variable struct {
	Name     string
	Default  string // as it would stand in the environment; empty if there is none
	Required bool   // of a secret: it, or its file
}

// Variables lists what [Load] reads into such structs, which are pointers: of a secret
// NAME_FILE too. What is documented is held to it.
func Variables(prefix string, of ...any) []Variable {
	var all []Variable
	for _, settings := range of {
		each(prefix, reflect.ValueOf(settings).Elem(), func(_ reflect.Value, field reflect.StructField, name string) {
			all = append(all, Variable{name, field.Tag.Get("default"), field.Tag.Get("required") == "true"})
			if field.Type == secretType {
				all = append(all, Variable{Name: name + fromFile})
			}
		})
	}
	return all
}

// fillPlain lets envconfig parse one field, as a struct of that field alone, so
// that one fault does not hide the next.
func (l *loader) fillPlain(v reflect.Value, field reflect.StructField, name string) {
	if field.Tag.Get("required") == "true" && strings.TrimSpace(os.Getenv(name)) == "" {
		l.add(fmt.Errorf("%s %w", name, ErrRequired))
		return
	}
	field.Tag += ` split_words:"true"`
	field.Index, field.Offset = nil, 0
	one := reflect.New(reflect.StructOf([]reflect.StructField{field}))
	if err := envconfig.Process(l.prefix, one.Interface()); err != nil {
		var parse *envconfig.ParseError
		if !errors.As(err, &parse) {
			l.add(fmt.Errorf("%s: %w", name, err))
			return
		}
		// ParseError itself prints the value: a secret that was set under the
		// wrong name would land in the log.
		if _, ours := reflect.New(field.Type).Interface().(envconfig.Decoder); ours {
			l.add(fmt.Errorf("%s: %w", name, parse.Err))
		} else {
			l.add(fmt.Errorf("%s is not a valid %s", name, parse.TypeName))
		}
		return
	}
	v.Set(one.Elem().Field(0))
}

func (l *loader) fillSecret(v reflect.Value, field reflect.StructField, name string) {
	value, set := os.LookupEnv(name)
	file, inFile := os.LookupEnv(name + fromFile)
	switch {
	case set && inFile:
		l.add(fmt.Errorf("%s and %s%s are both set", name, name, fromFile))
		return
	case inFile:
		raw, err := os.ReadFile(file)
		if err != nil {
			l.add(fmt.Errorf("%s%s: %w", name, fromFile, err))
			return
		}
		value = strings.TrimRight(string(raw), "\r\n")
	}
	if value == "" && field.Tag.Get("required") == "true" {
		if inFile {
			l.add(fmt.Errorf("%s%s: %s is empty", name, fromFile, file))
		} else {
			l.add(fmt.Errorf("%s or %s%s %w", name, name, fromFile, ErrRequired))
		}
		return
	}
	v.SetString(value)
}

// RefuseUnknown names every variable with the prefix that is no setting of such structs, which
// are pointers, and the setting whose name is nearest to it.
func RefuseUnknown(prefix string, of ...any) error {
	var known, unknown []string
	for _, v := range Variables(prefix, of...) {
		known = append(known, v.Name)
	}
	for _, pair := range os.Environ() {
		if name, _, _ := strings.Cut(pair, "="); strings.HasPrefix(name, prefix+"_") && !slices.Contains(known, name) {
			unknown = append(unknown, name)
		}
	}
	slices.Sort(unknown)
	var faults []error
	for _, name := range unknown {
		fault := name + " is not a setting of this program"
		if meant := nearest(name, known); meant != "" {
			fault += "; " + meant + " is"
		}
		faults = append(faults, errors.New(fault))
	}
	return errors.Join(faults...)
}

// maxEdits is how many letters a misspelt name may have too many, too few or wrong; two that are
// exchanged are two wrong ones.
const maxEdits = 2

// nearest gives the name that the fewest edits make of another; empty if that are too many.
func nearest(name string, known []string) string {
	found, fewest := "", maxEdits+1
	for _, k := range known {
		if n := edits(name, k); n < fewest {
			found, fewest = k, n
		}
	}
	return found
}

// edits is Levenshtein's distance of two names, which are ASCII.
func edits(a, b string) int {
	before := make([]int, len(b)+1) // from a[:i-1] to b[:j]
	for j := range before {
		before[j] = j
	}
	for i := range len(a) {
		now := append(make([]int, 0, len(b)+1), i+1)
		for j := range len(b) {
			changed := before[j]
			if a[i] != b[j] {
				changed++
			}
			now = append(now, min(changed, before[j+1]+1, now[j]+1))
		}
		before = now
	}
	return before[len(b)]
}

// screamingSnake names a field's variable as envconfig's split_words does:
// AMQPUser is AMQP_USER.
func screamingSnake(field string) string {
	var b strings.Builder
	runes := []rune(field)
	for i, r := range runes {
		if i > 0 && unicode.IsUpper(r) &&
			(unicode.IsLower(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1])) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToUpper(r))
	}
	return b.String()
}
