# earlybind: `make help` lists what there is to run.

# libvirt is loaded when the publisher starts, not when it is linked: no
# libvirt is needed to build.
export GOFLAGS = -tags=libvirt_dlopen

VERSION ?= $(shell git describe --always --dirty 2>/dev/null || echo dev)
LDFLAGS = -X main.version=$(VERSION)

.PHONY: help build

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## both programs, in bin/
	CGO_ENABLED=0 go build -ldflags '$(LDFLAGS)' -o bin/earlybind-consumer ./cmd/earlybind-consumer
	CGO_ENABLED=1 go build -ldflags '$(LDFLAGS)' -o bin/earlybind-publisher ./cmd/earlybind-publisher
