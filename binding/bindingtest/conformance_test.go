package bindingtest_test

import (
	"testing"

	"github.com/earlybind/earlybind/binding/bindingtest"
)

func TestConformance(t *testing.T) {
	bindingtest.Conformance(t, bindingtest.NewEnv)
}
