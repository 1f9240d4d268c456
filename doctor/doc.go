// Package doctor examines the ports of a whole cloud: it finds those whose rows are not
// as they should be for where the guest is, says what would mend each, and mends what an
// operator lets it.
//
//	facts      what Neutron, Nova and the hosts say of one port: plain values
//	diagnose   facts to a finding: the state table, pure
//	plan       a finding's way back to right, request by request, pure
//	examine    reads a cloud: one list call per host, and the rows of what looks wrong
//	mend       carries plans out, each write checked and written down before it is sent
//	notes      the undo journal: a file
//	nova       Nova's API
//	guests     where the hosts' publishers see the guests
//
// # What is never done
//
// Nothing is written to a port while anything may be under way with its instance: a
// migration of any type that is not finished, a task, a resize that waits to be
// confirmed, a soft delete that can be taken back. Nor where Nova has not answered for
// all cells, where its word and the hosts' differ, or where the facts were different a
// minute ago. What is then found is told. A row that is gone is not invented.
package doctor
