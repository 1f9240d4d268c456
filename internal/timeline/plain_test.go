package timeline

import "testing"

func TestPlainHoldsNothingThatATerminalActsOn(t *testing.T) {
	for text, want := range map[string]string{
		"a b é ×2": "a b é ×2", "\x1b[2Jx": " [2Jx", "a\r\nb\tc": "a  b c", "\u202eabc": " abc", "\xff": "\ufffd",
	} {
		if got := Plain(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
