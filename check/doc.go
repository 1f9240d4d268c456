// Package check reads a cloud and tells what of it is fit for earlybind, what is not, and
// which setting changes that.
//
//	facts        what was seen, or why it was not: plain values
//	finding      what a fact means, at which level, and what to do
//	judge        facts to findings, pure; the rules stand in rules_*.go, one file per source
//	remedies     the settings to change, by deployment tool
//	gather       asks Keystone, Neutron, Nova and the brokers
//	neutron, nova, broker, management   the four that are asked
//	hearing      what came through the broker meanwhile, counted
//	text         findings for people
//
// # What is unknown
//
// A fact that could not be seen is a finding of level [Unknown], never of level [Fit]: the
// zero value of a [Seen] is one that was not seen. So a rule that forgets to look finds
// nothing fit.
//
// # What is never done
//
// Nothing is written to Neutron but what a consumer that is to write does at its start: a POST of a row for
// a port that does not exist. At a broker it uses queues and an exchange of its own, which go
// with its connection; it declares passively what is others', takes no message from any queue
// of theirs, and asks the publishers what a consumer asks them when it becomes active. What it
// reads of notifications it counts, and keeps nothing of their content: it may hold tokens.
package check
