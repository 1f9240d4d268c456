// Package config reads a program's settings from the environment.
//
// A program declares a struct; [Load] fills it and answers with every fault at
// once, so that an operator mends them in one go. Around envconfig, which does
// the parsing, it adds what a service needs and envconfig lacks:
//
//   - all faults are reported together, not only the first;
//   - a value of type [Secret] never shows in an error or a log, and may come
//     from the file that NAME_FILE names;
//   - a variable with the prefix that no setting has is refused: a misspelt
//     setting must not be a silent no-op;
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

// Load fills the structs that into points to from variables named
// PREFIX_FIELD_NAME. The error joins every fault found.
//
// Fields are plain (no nested structs but embedded ones); their tags are
// envconfig's `default` and `required`. A required value must not be empty.
func Load(prefix string, into ...any) error {
	l := loader{prefix: prefix, known: map[string]bool{}}
	for _, settings := range into {
		l.fill(reflect.ValueOf(settings).Elem())
	}
	l.refuseUnknown()
	for _, settings := range into {
		if v, ok := settings.(interface{ Validate() error }); ok {
			l.add(v.Validate())
		}
	}
	return errors.Join(l.faults...)
}

type loader struct {
	prefix string
	known  map[string]bool
	faults []error
}

func (l *loader) add(err error) {
	if err != nil {
		l.faults = append(l.faults, err)
	}
}

func (l *loader) fill(s reflect.Value) {
	each(l.prefix, s, func(v reflect.Value, field reflect.StructField, name string) {
		l.known[name] = true
		if field.Type == secretType {
			l.known[name+fromFile] = true
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
		l.add(fmt.Errorf("%s is required", name))
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
			l.add(fmt.Errorf("%s or %s%s is required", name, name, fromFile))
		}
		return
	}
	v.SetString(value)
}

func (l *loader) refuseUnknown() {
	var unknown []string
	for _, pair := range os.Environ() {
		name, _, _ := strings.Cut(pair, "=")
		if strings.HasPrefix(name, l.prefix+"_") && !l.known[name] {
			unknown = append(unknown, name)
		}
	}
	slices.Sort(unknown)
	for _, name := range unknown {
		l.add(fmt.Errorf("%s is not a setting of this program", name))
	}
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
