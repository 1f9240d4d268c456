package main

// scenario is one kind of migration that the tour shows.
type scenario struct {
	Key    string
	Title  string
	Policy string // EARLYBIND_POLICY of the consumers
	Fail   failure
	// Expect says, before it runs, what a reader should see.
	Expect string
}

// failure is how and when a migration is made to fail: always by killing the
// destination's QEMU while the guest stands still on the source.
type failure int

const (
	none          failure = iota
	atPause               // as soon as the guest stands still
	whenActivated         // after earlybind has activated every port
	novaFirst             // the same, and earlybind is frozen until Nova has deleted the destination's rows
)

var scenarios = []scenario{
	{Key: "a", Title: "Nova alone (earlybind observes)", Policy: "observe",
		Expect: "Nova activates the destination after the source has stopped"},
	{Key: "b", Title: "with earlybind, default policy", Policy: "auto",
		Expect: "earlybind activates when the guest has arrived, before the source has stopped"},
	{Key: "c", Title: "failure in the switchover, default policy", Policy: "auto", Fail: atPause,
		Expect: "nothing was activated early; every port stays on the source"},
	{Key: "d", Title: "failure after an early activation (policy suspended forced)", Policy: "suspended", Fail: whenActivated,
		Expect: "earlybind activates at the pause and restores the source"},
	{Key: "e", Title: "the same, and Nova deletes the ACTIVE rows first", Policy: "suspended", Fail: novaFirst,
		Expect: "the ports are left without an ACTIVE row, and earlybind restores them"},
	{Key: "s", Title: "success with the policy suspended forced", Policy: "suspended",
		Expect: "earlybind activates while the guest stands still"},
}

func scenarioOf(key string) (scenario, bool) {
	for _, s := range scenarios {
		if s.Key == key {
			return s, true
		}
	}
	return scenario{}, false
}
