// Package docs holds what the pages of the documentation point at to what there is: files
// and headings by links, packages by the README's table, tests by their names. All of it is
// tests. What settings, metrics and the audit log are called, tests/packages,
// tests/monitoring and audit compare.
package docs
