package bindingtest_test

import (
	"testing"

	"github.com/earlybind/earlybind/binding/bindingtest"
)

func TestConformance(t *testing.T) {
	bindingtest.Conformance(t, bindingtest.NewEnv)
}

func TestConformanceOfAnOldNeutron(t *testing.T) {
	bindingtest.Conformance(t, func(t *testing.T) bindingtest.Env {
		env := bindingtest.NewEnv(t)
		env.(interface{ MakeOld() }).MakeOld()
		return env
	})
}
