// Package packages installs what make release makes, in containers in which systemd runs: the Debian packages by apt, the rpm packages
// by Debian's rpm. It loads the container images, looks into the SBOMs, and holds settings, their page, the samples and the examples
// for kolla-ansible and Kubernetes to what the programs take. All of it is tests; make test-packages runs those that need docker.
package packages
