// Package duel has our calls to a real Neutron meet Nova's at a chosen distance
// in time: one port, one meeting, and a look at what became of the port and of
// Nova. The command races runs many of them and makes a table.
//
// Our side is what the consumer does: an activate followed by a read, and
// rollback.Restore with the real client. Nova's side is package nova. Nothing
// of the consumer's hearing is here: what it would have been told, and when, a
// case says itself.
package duel
