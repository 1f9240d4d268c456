/*
Package neutron is a Neutron in memory, for tests and for the replay of recordings.

It answers as Neutron 26.0.3 (2025.1) with ML2/openvswitch was seen to: the status
codes, the bodies, the request id header, what becomes of the rows and of the port.
The conformance suite of package bindingtest holds it and a real Neutron to the same
answers. It knows /v2.0/ports (list by filter, read, update of the profile or of
nothing), /v2.0/ports/{id}/bindings and /v2.0/extensions. What it was not seen to
answer but is read in Neutron's code says so in a comment.

	n := neutron.New()
	port := n.AddPort(neutron.PortOpts{Host: "compute1"})
	client := neutron.NewClient(neutron.InMemory, neutron.Transport{n.Handler()})

Faults are injected per call: a delay that a test ends, an error before or after the
call took effect, a load balancer that answers in Neutron's place, a connection that
breaks, also half-way through the answer, someone else's call in between:

	// Nova's rollback deletes the destination row while we activate the source
	n.Inject(neutron.Fault{
		Op:      binding.OpActivate,
		Between: func() { n.DeleteRow(port, "compute2") },
	})

A [Proxy] brings the same faults, but for the last, between a client and a real
Neutron.
*/
package neutron
