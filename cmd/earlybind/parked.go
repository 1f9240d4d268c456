package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/earlybind/earlybind/consumer"
	"github.com/earlybind/earlybind/internal/timeline"
)

const aboutParked = `Lists the messages that consumers have parked, since they could not understand them or they came back too often: when,
why, how many bytes, the SHA-256 of the content, and where they came from. They stay where they are, however often they
are looked at, until they are 7 days old. The content is shown by -raw alone: Nova's messages hold tokens of whoever
asked for the migration.

  earlybind parked                           what lies there
  earlybind parked -json | jq -r '.messages[].reason' | sort | uniq -c
  earlybind parked -raw d7287cd0 >message    the content of the one whose SHA-256 begins so
  earlybind parked -drop SHA256              drop it, and any other with the same content

It needs what a consumer's environment holds of EARLYBIND_AMQP_..., EARLYBIND_OTHER_CELLS, EARLYBIND_QUEUE and
EARLYBIND_QUEUE_TYPE (docs/settings.md). Exit status: 0 it was done, whether anything is parked or not; 1 it could not
be done, or there is no such message; 2 wrong options or settings.`

// parkedVersion is the version of the list as JSON. It rises when a field changes its
// meaning, not when one is added.
const parkedVersion = 1

// leastHash is how many digits of a message's hash name it, at least.
const leastHash = 4

var (
	partOfHash = regexp.MustCompile(fmt.Sprintf(`^[0-9a-f]{%d,64}$`, leastHash))
	wholeHash  = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

func parked(ctx context.Context, args []string, out, faults io.Writer) error {
	f := flag.NewFlagSet("parked", flag.ContinueOnError)
	raw := f.String("raw", "", "print the content of the message with this `SHA256`, or the beginning of it")
	drop := f.String("drop", "", "drop the messages with this `SHA256`, whole")
	asJSON := f.Bool("json", false, "list as JSON")
	words, err := parseFiles(f, aboutParked, "", args, faults)
	if err != nil {
		return err
	}
	*raw, *drop = strings.ToLower(*raw), strings.ToLower(*drop)
	switch {
	case len(words) > 0:
		return misused(f, faults, "it takes options only: a message is named by -raw SHA256 or -drop SHA256")
	case *raw != "" && *drop != "" || *asJSON && *raw+*drop != "":
		return misused(f, faults, "-raw, -drop and -json do not go together")
	case *raw != "" && !partOfHash.MatchString(*raw):
		return misused(f, faults, fmt.Sprintf("-raw: %q is not a SHA-256 in hex, or the first %d digits of one at least", *raw, leastHash))
	case *drop != "" && !wholeHash.MatchString(*drop):
		return misused(f, faults, fmt.Sprintf("-drop: %q is not a whole SHA-256: 64 digits in hex, as the list has them", *drop))
	}
	settings, err := settingsFor("parked", faults)
	if err != nil {
		return err
	}
	contents := map[string][]byte{} // by hash
	found := consumer.LookAtParked(ctx, settings, func(p consumer.Parked, content []byte) bool {
		if *raw != "" && strings.HasPrefix(p.SHA256, *raw) {
			contents[p.SHA256] = content
		}
		return p.SHA256 == *drop
	})
	switch {
	case *raw != "":
		return printContent(out, *raw, contents, found)
	case *drop != "":
		return reportDropped(out, *drop, found)
	case *asJSON:
		return errors.Join(parkedJSON(out, found), faultsOf(found))
	}
	return errors.Join(parkedText(out, found), faultsOf(found))
}

// faultsOf names the cells of which not all is known.
func faultsOf(found []consumer.ParkedIn) error {
	var wrong []string
	for _, in := range found {
		if in.Err != nil {
			wrong = append(wrong, ofCell(in.Cell, len(found), in.Err))
		}
	}
	if len(wrong) > 0 {
		return errors.New(strings.Join(wrong, "\n"))
	}
	return nil
}

func parkedText(out io.Writer, found []consumer.ParkedIn) error {
	var b strings.Builder
	for _, in := range found {
		if in.Err != nil {
			continue
		}
		bytes := 0
		for _, p := range in.Messages {
			bytes += p.Bytes
		}
		switch n := len(in.Messages); n {
		case 0:
			fmt.Fprintf(&b, "%s: nothing is parked\n", in.Cell)
		default:
			fmt.Fprintf(&b, "%s: %s parked, %d bytes; times are UTC\n", in.Cell, counted(n, "message"), bytes)
		}
		if in.Missing > 0 {
			fmt.Fprintf(&b, "  and %d more when the look began, which have expired meanwhile, or another program has taken them\n", in.Missing)
		}
		for _, p := range in.Messages {
			fmt.Fprintf(&b, "  %s  %d bytes  sha256 %s\n    %s\n    %s\n",
				stampOf(p.At), p.Bytes, p.SHA256, timeline.Plain(cmp.Or(p.Reason, "no reason is given: it was not a consumer that parked it")), timeline.Plain(whence(p)))
		}
	}
	_, err := io.WriteString(out, b.String())
	return err
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func stampOf(t time.Time) string {
	if t.IsZero() {
		return "at an unknown time"
	}
	return t.Format(time.DateTime)
}

// whence tells where a message came from.
func whence(p consumer.Parked) string {
	user := "no user"
	if p.User != "" {
		user = "user " + p.User
	}
	return fmt.Sprintf("from exchange %s, key %s, %s", cmp.Or(p.Exchange, "(none)"), cmp.Or(p.Key, "(none)"), user)
}

func parkedJSON(out io.Writer, found []consumer.ParkedIn) error {
	type message struct {
		Cell string `json:"cell"`
		consumer.Parked
	}
	list := struct {
		Version  int       `json:"earlybind_parked"`
		Messages []message `json:"messages"`
	}{Version: parkedVersion, Messages: []message{}}
	for _, in := range found {
		for _, p := range in.Messages {
			list.Messages = append(list.Messages, message{in.Cell, p})
		}
	}
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", " ")
	return encoder.Encode(list)
}

// printContent prints the one message whose hash begins so.
func printContent(out io.Writer, hash string, contents map[string][]byte, found []consumer.ParkedIn) error {
	hashes := slices.Sorted(maps.Keys(contents))
	switch len(hashes) {
	case 0:
		return notParked(hash, found)
	case 1:
	default:
		return fmt.Errorf("%d messages have a SHA-256 that begins with %s: %s", len(hashes), hash, strings.Join(hashes, ", "))
	}
	content := contents[hashes[0]]
	if isTerminal(out) && !harmless(content) {
		return errors.New("the content holds what a terminal would act on: write it to a file, >message, or look at it with | cat -v")
	}
	_, err := out.Write(content)
	return err
}

// notParked says that no message has that hash, or that it is not known.
func notParked(hash string, found []consumer.ParkedIn) error {
	if err := faultsOf(found); err != nil {
		return err
	}
	n := 0
	for _, in := range found {
		n += len(in.Messages)
	}
	return fmt.Errorf("no message that is parked has a SHA-256 that begins with %s; %d lie there: earlybind parked lists them", hash, n)
}

// harmless tells whether text is such that a terminal only shows it.
func harmless(text []byte) bool {
	if !utf8.Valid(text) {
		return false
	}
	return !strings.ContainsFunc(string(text), func(r rune) bool { return !unicode.IsPrint(r) && r != '\n' && r != '\t' })
}

func reportDropped(out io.Writer, hash string, found []consumer.ParkedIn) error {
	dropped := 0
	for _, in := range found {
		if in.Err == nil && in.Dropped > 0 {
			dropped += in.Dropped
			fmt.Fprintf(out, "%s: dropped %s\n", in.Cell, counted(in.Dropped, "message"))
		}
	}
	if dropped == 0 {
		return notParked(hash, found)
	}
	return faultsOf(found)
}
