// Package browser looks at the page that earlybind audit -html writes in a real browser,
// Debian's chromium without a window: make test-browser installs it.
package browser
