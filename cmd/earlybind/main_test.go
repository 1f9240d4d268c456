package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const success = "../../recordings/success.jsonl"

func TestCommands(t *testing.T) {
	t.Setenv("EARLYBIND_AMQP_USER", "") // required by record
	future := filepath.Join(t.TempDir(), "future.jsonl")
	if err := os.WriteFile(future, []byte(`{"earlybind_recording":9}`+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	empty := write(t, t.TempDir(), "empty", nil)
	for _, c := range []struct {
		args        string
		code        int
		out, faults string
	}{
		{"", wrongUsage, "", "earlybind audit FILE"},
		{"help", done, "earlybind record FILE", ""},
		{"-version", done, "earlybind dev", ""},
		{"play x", wrongUsage, "", "earlybind: there is no command \"play\"; earlybind -h lists them\n"},
		{"-play x", wrongUsage, "", "earlybind: there is no option \"-play\"; earlybind -h lists the commands\n"},
		{"help replay", done, "No server is needed", ""},
		{"-h replay", done, "No server is needed", ""},
		{"help play", wrongUsage, "", `there is no command "play"`},
		{"replay", wrongUsage, "", "one FILE is needed"},
		{"replay a b", wrongUsage, "", "one FILE is needed"},
		{"replay -h", done, "No server is needed", ""},
		{"replay -nonsense x", wrongUsage, "", "How it is called: earlybind replay -h"},
		{"replay -speed -1 x", wrongUsage, "", "-speed must be 0"},
		{"replay -speed 0.01 x", wrongUsage, "", "-speed must be 0"},
		{"replay -speed NaN x", wrongUsage, "", "-speed must be 0"},
		{"replay -speed Inf x", wrongUsage, "", "-speed must be 0"},
		{"replay -policy fast x", wrongUsage, "", "-policy: one of"},
		{"replay -policy named x", wrongUsage, "", "-policy: one of"},
		{"simulate -policy named", wrongUsage, "", "-policy: one of"},
		{"replay /nowhere/x", failed, "", "/nowhere/x: no such file"},
		{"replay " + future, failed, "", "line 1: the recording is of version 9"},
		{"replay " + success, done, "handover.ended migrated", ""},
		{"replay " + success + " -policy observe", done, "live migrations: 1; messages: 8; policy: observe", ""},
		{"doctor x", wrongUsage, "", "it takes options only"},
		{"doctor -h", done, "It reads only, unless -fix is given", ""},
		{"doctor -cloud no-such-cloud", wrongUsage, "", "Neutron: OpenStack credentials"},
		{"check x", wrongUsage, "", "it takes options only"},
		{"check -h", done, "What could not be seen is said to be unknown", ""},
		{"check", wrongUsage, "", "EARLYBIND_AMQP_USER is required"},
		{"check -tool puppet", wrongUsage, "", "-tool must be one of kolla-ansible, openstack-ansible, openstack-helm, nova.conf"},
		{"check -listen 1ms", wrongUsage, "", "-listen must be at least 1s"},
		{"check -management amqp://r", wrongUsage, "", "must be http://host:15672"},
		{"check -management-user u", wrongUsage, "", "go with -management"},
		{"check -management http://r:1 -management-user u", wrongUsage, "", "go together"},
		{"rights -h", done, "Nothing is connected to", ""},
		{"rights a*b c#", wrongUsage, "", `HOST "c#" must not hold`},
		{"rights -prefix= compute1", done, "add_user 'compute1'", ""},
		{"rights compute1", done, "'earlybind-compute1'", ""},
		{"rights compute1, compute2 and 4 more", wrongUsage, "", `HOST "compute1," must not hold a comma`},
		{"rights c1 c2 c1", wrongUsage, "", `HOST "c1" was given twice`},
		{"rights", wrongUsage, "", "at least one HOST is needed"},
		{"rights -hosts-only", wrongUsage, "", "at least one HOST is needed"},
		{"rights -consumers-only", done, "add_user 'earlybind'", ""},
		{"rights -consumers-only compute1", wrongUsage, "", "-consumers-only takes no HOST"},
		{"rights -consumers-only -hosts-only", wrongUsage, "", "and not -hosts-only"},
		{"pause compute1", wrongUsage, "", "a host is named with -host"},
		{"pause -h", done, "restores do", ""},
		{"pause -show -host compute1", wrongUsage, "", "-show takes no other option"},
		{"pause -show -by me", wrongUsage, "", "-show takes no other option"},
		{"resume -by me", wrongUsage, "", "EARLYBIND_AMQP_USER is required"},
		{"resume -h", done, "until it is resumed by name", ""},
		{"pause -host a*b", wrongUsage, "", "it must not hold"},
		{"pause", wrongUsage, "", "EARLYBIND_AMQP_USER is required"},
		{"parked x", wrongUsage, "", "a message is named by -raw SHA256 or -drop SHA256"},
		{"parked -h", done, "They stay where they are", ""},
		{"parked -raw abcd -json", wrongUsage, "", "do not go together"},
		{"parked -raw abcd -drop abcd", wrongUsage, "", "do not go together"},
		{"parked -raw abc", wrongUsage, "", "is not a SHA-256 in hex, or the first 4 digits"},
		{"parked -raw wxyz", wrongUsage, "", "is not a SHA-256 in hex"},
		{"parked -drop abcd", wrongUsage, "", "is not a whole SHA-256"},
		{"parked", wrongUsage, "", "EARLYBIND_AMQP_USER is required"},
		{"record", wrongUsage, "", "one FILE is needed"},
		{"record -h", done, "anonymise-hosts", ""},
		{"record -for -1m x", wrongUsage, "", "-for must not be negative"},
		{"simulate -h", done, "Neutron's API workers", ""},
		{"simulate x", wrongUsage, "", "it takes options only"},
		{"simulate -load fast -workers 0 -policy fast -hosts 1", wrongUsage, "", `-load: "fast" is not a number; -policy: one of observe, resumed, suspended, auto; -hosts must be from 2 to 100000, not 1; -workers must`},
		{"simulate -release 2016", wrongUsage, "", `-release: "2016" was not measured, only 2025.1 and zed`},
		{"simulate -latency /nowhere/x", failed, "", "-latency: open /nowhere/x"},
		{"simulate -latency /nowhere/x -hosts 1", wrongUsage, "", "-hosts must"},
		{"simulate -latency " + empty, failed, "", empty + ": it is empty (what it holds: docs/scale.md)"},
		{"simulate -latency " + future, failed, "", "(what it holds: docs/scale.md)"},
		{"simulate -load 6 -duration 1m", done, "6 migrations per minute", ""},
		{"simulate -load 6,12 -duration 20s -json", done, `"migrations_per_minute": 12`, ""},
		{"record x", wrongUsage, "", "EARLYBIND_AMQP_USER is required"},
	} {
		var out, faults bytes.Buffer
		code := run(t.Context(), strings.Fields(c.args), &out, &faults)
		if code != c.code || !strings.Contains(out.String(), c.out) || !strings.Contains(faults.String(), c.faults) {
			t.Errorf("earlybind %s: %d\n%s\n%s", c.args, code, &out, &faults)
		}
		if n := strings.Count(faults.String(), "\n"); c.args != "" && n > 4 {
			t.Errorf("earlybind %s: %d lines of faults: %s", c.args, n, &faults)
		}
		if (c.faults == "") != (faults.Len() == 0) {
			t.Errorf("earlybind %s: says %s", c.args, &faults)
		}
	}
}

// Help is what was asked for: it can be read with a pager, on a terminal of 125 columns, and ends
// with what scripts need to know; an option's value has a name.
func TestEachCommandsHelp(t *testing.T) {
	nameless := regexp.MustCompile(`(?m)^  -\S+ (string|int|uint|float|value)$`)
	for _, line := range strings.Split(usage+"  earlybind resume  is named with pause", "\n") {
		words := strings.Fields(line)
		if len(words) < 2 || words[0] != "earlybind" || !strings.HasPrefix(line, "  ") {
			continue
		}
		command := strings.TrimSuffix(words[1], ",")
		var out, faults bytes.Buffer
		if code := run(t.Context(), []string{command, "-h"}, &out, &faults); code != done || faults.Len() > 0 {
			t.Errorf("%s: %d, %s", command, code, &faults)
		}
		about, _, _ := strings.Cut(out.String(), "\noptions:\n")
		for _, line := range strings.Split(about, "\n") {
			if strings.HasSuffix(line, " ") || len([]rune(line)) > 125 {
				t.Errorf("%s: %q", command, line)
			}
		}
		if found := nameless.FindString(out.String()); found != "" || !strings.Contains(about, "Exit status: 0") {
			t.Errorf("%s: %q\n%s", command, found, about)
		}
	}
}

// What a script makes of a variable that is not set is refused, by all commands and of all their options: an option that
// is given and empty must not count as one that was not given.
func TestAnEmptyOptionIsRefused(t *testing.T) {
	option := regexp.MustCompile(`(?m)^  -(\S+)`)
	for _, command := range []string{"audit", "check", "doctor", "parked", "pause", "record", "replay", "resume", "rights", "simulate", "watch"} {
		var out, faults bytes.Buffer
		if code := run(t.Context(), []string{command, "-h"}, &out, &faults); code != done {
			t.Fatalf("%s: %d, %s", command, code, &faults)
		}
		_, options, _ := strings.Cut(out.String(), "\noptions:\n")
		found := option.FindAllStringSubmatch(options, -1)
		if len(found) == 0 {
			t.Errorf("%s has no options", command)
		}
		for _, m := range found {
			name := m[1]
			if slices.Contains(mayBeEmpty, command+" -"+name) {
				continue
			}
			out.Reset()
			faults.Reset()
			code := run(t.Context(), []string{command, "x", "-" + name + "="}, &out, &faults)
			if want := fmt.Sprintf("earlybind %[1]s: -%[2]s must not be empty\nHow it is called: earlybind %[1]s -h\n", command, name); code != wrongUsage || out.Len() > 0 || faults.String() != want {
				t.Errorf("%s -%s=: %d %s%s", command, name, code, &out, &faults)
			}
		}
	}
	for _, args := range [][]string{{"audit", "-instance", "", "x"}, {"parked", "-raw", ""}, {"parked", "-drop", ""}} {
		var out, faults bytes.Buffer
		if code := run(t.Context(), args, &out, &faults); code != wrongUsage || !strings.Contains(faults.String(), args[1]+" must not be empty") {
			t.Errorf("%q: %d %s%s", args, code, &out, &faults)
		}
	}
}

// Whose answer could not be written is told so once, and does not take it for given; what has gone wrong otherwise is
// still told.
func TestOutputThatCannotBeWritten(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	dir := t.TempDir()
	right, lost := logOf(t, dir, "success"), logOf(t, dir, "post-copy-failed")
	const none = "no space left on device"
	for _, c := range []struct {
		args   string
		code   int
		faults string
	}{
		{"-h", failed, "earlybind -h: the output could not be written: " + none + "\n"},
		{"version", failed, "earlybind version: the output could not be written: " + none + "\n"},
		{"help rights", failed, "earlybind rights: the output could not be written: " + none + "\n"},
		{"pause -h", failed, "earlybind pause: the output could not be written: " + none + "\n"},
		{"rights compute1", failed, "earlybind rights: the output could not be written: " + none + "\n"},
		{"simulate -load 6 -duration 1m", failed, "earlybind simulate: the output could not be written: " + none + "\n"},
		{"simulate -load 6 -duration 1m -json", failed, "earlybind simulate: the output could not be written: " + none + "\n"},
		{"replay " + success, failed, "earlybind replay: the output could not be written: " + none + "\n"},
		{"audit " + right, failed, "earlybind audit: the output could not be written: " + none + "\n"},
		{"audit " + lost, failed, "earlybind audit: the output could not be written: " + none + "\n"},
		{"audit -json " + lost, failed, "earlybind audit: the output could not be written: " + none + "\n"},
		{"rights", wrongUsage, "earlybind rights: at least one HOST is needed; -consumers-only is for the consumers' user alone\nHow it is called: earlybind rights -h\n"},
		{"simulate -latency /nowhere/x", failed, "earlybind simulate: -latency: open /nowhere/x: no such file or directory\n"},
	} {
		var faults bytes.Buffer
		if code := run(t.Context(), strings.Fields(c.args), full, &faults); code != c.code || faults.String() != c.faults {
			t.Errorf("earlybind %s >/dev/full: %d %s", c.args, code, &faults)
		}
	}
	out := &stdout{Writer: full}
	_, fault := fmt.Fprintln(out, "a")
	if _, again := fmt.Fprintln(out, "b"); again != fault || out.others(fmt.Errorf("it is not shown: %w", fault)) != nil || out.others(nil) != nil {
		t.Errorf("%v, %v", fault, again)
	}
	if err := out.others(errors.Join(fault, errors.New("a cell is away"))); err == nil || err.Error() != "a cell is away" {
		t.Error(err)
	}
	for code, want := range map[int]int{done: failed, notRight: failed, failed: failed, wrongUsage: wrongUsage} {
		if got := out.ends(code, []string{"doctor"}, io.Discard); got != want {
			t.Errorf("a command that ends with %d: %d, want %d", code, got, want)
		}
		if got := new(stdout).ends(code, nil, io.Discard); got != code {
			t.Errorf("a command that ends with %d, and has been written: %d", code, got)
		}
	}
}

// A terminal is known for one through what keeps the fault of writing to it.
func TestATerminalIsKnown(t *testing.T) {
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	if out := (&stdout{Writer: terminal}); !isTerminal(out) || !isTerminal(terminal) {
		t.Error("it is taken for a file")
	}
	if isTerminal(&stdout{Writer: new(bytes.Buffer)}) {
		t.Error("a buffer is taken for a terminal")
	}
}

// The logs of two controllers are read as README has it, wherever it is told.
func TestBothJournalsAreRead(t *testing.T) {
	flat := func(text string) string {
		return strings.Join(strings.Fields(strings.ReplaceAll(text, "\\\n", "")), " ")
	}
	pages := map[string]string{"audit -h": flat(aboutAudit), "watch -h": flat(aboutWatch)}
	for name, file := range map[string]string{"README": "../../README.md", "earlybind-consumer(8)": "../../deploy/packages/man/earlybind-consumer.8.md"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		pages[name] = flat(string(text))
	}
	const audit = "earlybind audit <(journalctl -u earlybind-consumer -a -o json) <(ssh CONTROLLER2 journalctl -u earlybind-consumer -a -o json)"
	const watch = "earlybind watch <(journalctl -u earlybind-consumer -a -o json -f -n 5000) <(ssh CONTROLLER2 journalctl -u earlybind-consumer -a -o json -f -n 5000)"
	for page, commands := range map[string][]string{"README": {audit, watch}, "audit -h": {audit}, "watch -h": {watch}, "earlybind-consumer(8)": {audit}} {
		for _, command := range commands {
			if !strings.Contains(pages[page], command) {
				t.Errorf("%s does not have %s", page, command)
			}
		}
		if strings.Contains(pages[page], "json | earlybind") {
			t.Errorf("%s reads one journal", page)
		}
	}
}

func TestARecordingIsNotWrittenOver(t *testing.T) {
	t.Setenv("EARLYBIND_AMQP_USER", "u")
	t.Setenv("EARLYBIND_AMQP_PASSWORD", "p")
	name := filepath.Join(t.TempDir(), "there")
	if err := os.WriteFile(name, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, faults bytes.Buffer
	if code := run(t.Context(), []string{"record", name}, &out, &faults); code != failed || faults.String() != "earlybind record: "+name+" exists already, and nothing is written over: choose another name\n" {
		t.Errorf("%d, %s", code, &faults)
	}
	if left, _ := os.ReadFile(name); string(left) != "precious" {
		t.Errorf("it is %q now", left)
	}
}
