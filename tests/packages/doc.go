// Package packages installs what make release makes: the Debian packages in a container in which systemd and libvirt
// run, and looks into the rpm packages, the SBOMs and the container images. All of it is tests; make test-packages runs
// those that need docker.
package packages
