package publisher

import (
	"testing"

	"go.uber.org/goleak"
)

// leaks are goroutines that may outlive the tests, each with its reason.
var leaks []goleak.Option

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, leaks...) }
