package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

type shared struct {
	AMQPUser string `default:"earlybind"`
}

type settings struct {
	shared
	Host     string        `required:"true"`
	Brokers  []string      `default:"amqp://localhost"`
	Expiry   time.Duration `default:"10m"`
	Buffer   int           `default:"10"`
	Password Secret        `required:"true"`
}

func (s *settings) Validate() error {
	if s.Buffer < 1 {
		return fmt.Errorf("T_BUFFER must be at least 1")
	}
	return nil
}

func TestLoadFillsDefaultsValuesAndSecretsFromFiles(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("T_HOST", "compute1")
	t.Setenv("T_BROKERS", "amqp://a,amqp://b")
	t.Setenv("T_PASSWORD_FILE", file)
	var s settings
	if err := Load("T", &s); err != nil {
		t.Fatal(err)
	}
	if s.Host != "compute1" || len(s.Brokers) != 2 || s.Expiry != 10*time.Minute || s.AMQPUser != "earlybind" || s.Password.Reveal() != "s3cret" {
		t.Errorf("got %+v, password %q", s, s.Password.Reveal())
	}
}

func TestLoadReportsEveryFaultAtOnceAndNoValue(t *testing.T) {
	t.Setenv("T_EXPIRY", "hunter2")
	t.Setenv("T_BUFFER", "hunter2")
	t.Setenv("T_BUFER", "5")
	t.Setenv("T_PASSWORD_FILE", filepath.Join(t.TempDir(), "missing"))
	err := Load("T", &settings{})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"T_HOST is required", "T_EXPIRY is not a valid time.Duration", "T_BUFFER is not a valid int", "T_BUFER is not a setting of this program; T_BUFFER is", "T_PASSWORD_FILE"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("lacks %q: %v", want, err)
		}
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Errorf("shows a value: %v", err)
	}
}

func TestLoadValidatesWhatItParsed(t *testing.T) {
	t.Setenv("T_HOST", "compute1")
	t.Setenv("T_PASSWORD", "x")
	t.Setenv("T_BUFFER", "0")
	if err := Load("T", &settings{}); err == nil || !strings.Contains(err.Error(), "T_BUFFER must be at least 1") {
		t.Errorf("got %v", err)
	}
}

func TestAFaultOfParsingDoesNotHideOneOfValidation(t *testing.T) {
	t.Setenv("T_HOST", "compute1")
	t.Setenv("T_PASSWORD", "x")
	t.Setenv("T_BUFFER", "0")
	t.Setenv("T_EXPIRY", "soon")
	err := Load("T", &settings{})
	if err == nil || !strings.Contains(err.Error(), "T_EXPIRY is not a valid") || !strings.Contains(err.Error(), "T_BUFFER must be at least 1") {
		t.Errorf("got %v", err)
	}
}

func TestRequiredRefusesAnEmptyValue(t *testing.T) {
	t.Setenv("T_HOST", " ")
	t.Setenv("T_PASSWORD", "")
	err := Load("T", &settings{})
	if err == nil || !strings.Contains(err.Error(), "T_HOST is required") || !strings.Contains(err.Error(), "T_PASSWORD or T_PASSWORD_FILE is required") {
		t.Errorf("got %v", err)
	}
}

func TestAnEmptyFileOfASecretIsNamed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("T_HOST", "compute1")
	t.Setenv("T_PASSWORD_FILE", file)
	if err := Load("T", &settings{}); err == nil || err.Error() != "T_PASSWORD_FILE: "+file+" is empty" {
		t.Errorf("got %v", err)
	}
}

func TestSecretAndItsFileTogetherAreRefused(t *testing.T) {
	t.Setenv("T_HOST", "compute1")
	t.Setenv("T_PASSWORD", "x")
	t.Setenv("T_PASSWORD_FILE", "y")
	if err := Load("T", &settings{}); err == nil || !strings.Contains(err.Error(), "both set") {
		t.Errorf("got %v", err)
	}
}

func TestSecretNeverPrints(t *testing.T) {
	s := settings{Password: "s3cret"}
	raw, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{fmt.Sprint(s), fmt.Sprintf("%+v %#v %s %q", s, s, s.Password, s.Password), string(raw)} {
		if strings.Contains(text, "s3cret") {
			t.Errorf("shows the secret: %s", text)
		}
	}
}

func TestScreamingSnake(t *testing.T) {
	for field, want := range map[string]string{"Host": "HOST", "AMQPUser": "AMQP_USER", "LibvirtURI": "LIBVIRT_URI", "StateDir": "STATE_DIR"} {
		if got := screamingSnake(field); got != want {
			t.Errorf("%s: got %s, want %s", field, got, want)
		}
	}
}

func TestVariablesAreThoseThatAreLoaded(t *testing.T) {
	got := Variables("T", &settings{})
	for _, want := range []Variable{{"T_HOST", "", true}, {"T_PASSWORD", "", true}, {"T_PASSWORD_FILE", "", false}, {"T_EXPIRY", "10m", false}} {
		if !slices.Contains(got, want) {
			t.Errorf("lacks %+v: %+v", want, got)
		}
	}
	for _, v := range got {
		t.Setenv(v.Name, "x")
	}
	if err := Load("T", &settings{}); err == nil || strings.Contains(err.Error(), "is not a setting") {
		t.Errorf("%v", err)
	}
}

// A misspelt name is told with the one that was meant, where one is near enough.
func TestAMisspeltSettingIsToldWithTheOneThatWasMeant(t *testing.T) {
	for name, meant := range map[string]string{
		"T_HOSTS": "T_HOST", "T_HSOT": "T_HOST", "T_BROKER": "T_BROKERS", "T_EXPIRE": "T_EXPIRY", "T_EXPYIR": "T_EXPIRY", "T_XEPYIR": "", "T_HOSTING": "", "T_HOSTNAME": "",
		"T_PASSWORD_FIEL": "T_PASSWORD_FILE", "T_AMQP_USR": "T_AMQP_USER", "T_": "", "T_BUFFER_SIZE": "",
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(name, "x")
			want := name + " is not a setting of this program"
			if meant != "" {
				want += "; " + meant + " is"
			}
			if err := RefuseUnknown("T", &settings{}); err == nil || err.Error() != want {
				t.Errorf("%v, want %s", err, want)
			}
		})
	}
}

func TestNamesAreAsFarApartAsTheEditsBetweenThem(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"A", "", 1}, {"", "AB", 2}, {"KITTEN", "SITTING", 3}, {"SITTING", "KITTEN", 3}, {"POLICYY", "POLICY", 1}, {"CLUOD", "CLOUD", 2}} {
		if got := edits(c.a, c.b); got != c.want {
			t.Errorf("%q, %q: %d, want %d", c.a, c.b, got, c.want)
		}
	}
}

// What is required and missing is told apart from what is wrong.
func TestWhatIsMissingIsToldApart(t *testing.T) {
	for name, c := range map[string]struct {
		env     map[string]string
		missing bool
	}{
		"host":     {map[string]string{"T_PASSWORD": "x"}, true},
		"password": {map[string]string{"T_HOST": "compute1"}, true},
		"none":     {map[string]string{"T_HOST": "compute1", "T_PASSWORD": "x", "T_BUFFER": "0", "T_BUFER": "1"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			for name, value := range c.env {
				t.Setenv(name, value)
			}
			if err := Load("T", &settings{}); err == nil || errors.Is(err, ErrRequired) != c.missing {
				t.Errorf("%v", err)
			}
		})
	}
}
