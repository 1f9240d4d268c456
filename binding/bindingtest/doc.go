// Package bindingtest brings [neutron.Neutron], the Neutron in memory, behind HTTP for
// tests, and has the conformance suite that holds it and a real Neutron to the same
// answers.
//
// A [Proxy] brings the same faults, but for calls between the two transactions of an
// activate, between a client and a real Neutron.
package bindingtest
