package wire

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What a glance says is never other than what decoding says.
func TestGlanceAgreesWithDecoding(t *testing.T) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal(err)
	}
	unrelated := 0
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		n, err := Decode(raw)
		if err != nil {
			t.Fatal(err)
		}
		_, about, _ := ParseNova(n)
		if Glance(raw) == about {
			t.Errorf("%s: a glance says unrelated %t", file, !about)
		}
		if !about {
			unrelated++
		}
	}
	if unrelated == 0 {
		t.Error("no notification is unrelated")
	}
}

func TestGlanceLeavesToDecodingWhatItCannotBeSureOf(t *testing.T) {
	const other = `{"oslo.version": "2.0", "oslo.message": "{\"message_id\": \"1\", \"publisher_id\": \"compute.a\", \"event_type\": \"compute.instance.update\", \"payload\": {}}"}`
	if !Glance([]byte(other)) {
		t.Fatal("this one is unrelated for sure")
	}
	for name, raw := range map[string]string{
		"no envelope":           `{"event_type": "compute.instance.update", "payload": {}}`,
		"payload before type":   `{"oslo.message": "{\"payload\": {\"event_type\": \"x\"}, \"event_type\": \"instance.live_migration_pre.start\"}"}`,
		"payload alone":         `{"oslo.message": "{\"payload\": {\"event_type\": \"x\"}}"}`,
		"escaped type":          `{"oslo.message": "{\"event_type\": \"instance.live\\u005fmigration_pre.start\", \"payload\": {}}"}`,
		"type in a text before": `{"oslo.message": "{\"publisher_id\": \"\\\"event_type\\\": \\\"x\\\"\", \"event_type\": \"instance.live_migration_pre.start\", \"payload\": {}}"}`,
		"cut off":               other[:strings.Index(other, "update")],
		"no type":               `{"oslo.message": "{\"event_type\": \"\", \"payload\": {}}"}`,
		"type far behind":       `{"oslo.message": "{\"x\": \"` + strings.Repeat("x", glanceWithin) + `\", \"event_type\": \"y\", \"payload\": {}}"}`,
		"nothing":               ``,
	} {
		if Glance([]byte(raw)) {
			t.Errorf("%s: a glance says unrelated", name)
		}
	}
}

func BenchmarkUnrelatedNotification(b *testing.B) {
	raw, err := os.ReadFile("testdata/versioned-scheduler.select_destinations.end.json")
	if err != nil {
		b.Fatal(err)
	}
	b.Run("glance", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if !Glance(raw) {
				b.Fatal("it is not about a live migration")
			}
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			n, err := Decode(raw)
			if _, about, _ := ParseNova(n); err != nil || about {
				b.Fatal("it is not about a live migration")
			}
		}
	})
}
