# earlybind: `make help` lists what there is to run.

# libvirt is loaded when the publisher starts, not when it is linked: no
# libvirt is needed to build. Set here and not on the command line, so that
# every go command below agrees.
TAGS = libvirt_dlopen
export GOFLAGS = -tags=$(TAGS)
# What is built and tested here is built with this toolchain, which the go command fetches as a module where it is not installed:
# faults of Go's library are mended by a newer one, and `make test-vulnerabilities` says when. go.mod asks for no more than the
# code needs. To build with the Go that is installed: make GOTOOLCHAIN=local build.
export GOTOOLCHAIN = go1.27.3
INTEGRATION = GOFLAGS=-tags=$(TAGS),integration

VERSION ?= $(shell git describe --always --dirty 2>/dev/null || echo dev)
# Asked for once: packages and images of one run are of one version.
VERSION := $(VERSION)
LDFLAGS = -X main.version=$(VERSION)

LAB = deploy/lab/lab
ZED = EARLYBIND_LAB_RELEASE=zed deploy/lab/lab

# Of long runs: how many migrations of each story, which stories, where they are kept.
N ?= 20
STORIES ?= b
RESULTS ?= var/samples.jsonl
# Of recordings: which outcomes; empty: all.
ONLY ?=
# Of the model tests: how many ways in which the messages come, for each property and recorded stream.
CHECKS ?= 10000
# Of chaos: how many handovers, half of them failing.
HANDOVERS ?= 1000
# Of the flood: how often quiet and flooded take turns, at each rate.
ROUNDS ?= 5
# Of images: what they are made from. Any image with Debian's apt will do.
BASE ?= debian:trixie-slim
# The check for known vulnerabilities, and its database: the Go team's, as the module of its repository, since a machine that builds
# reaches modules and may reach nothing else.
GOVULNCHECK = golang.org/x/vuln/cmd/govulncheck@v1.9.0
VULNDB = golang.org/x/vulndb@latest
# A million situations of a pure function: they have no goroutines, and take 4 minutes more under the race detector.
ENUMERATED = ^(TestPlanIsItsTable|TestEveryPlanComesToAnEnd)$$
# What runs on a clock that lets one goroutine go on at a time: under the race detector 8 minutes of CPU for nothing.
SERIAL = audit/report replay simulation
# Tests of minutes, which were seen to pass on Zed too: SLOW=none runs them there.
SLOW ?= ^TestRabbitMQ(Neighbour|IsAwayForLong|PublisherSt|MemoryAlarm|AbsentConsumer|PolicyOfAShortLife|Cells|SharesSpread|SecondReplicaRestores)|^TestNeutronProcessIsFrozen

.PHONY: help build release packages images lab lab-images lab-up lab-down tour series kills series-without-notifications recordings rolling races chaos chaos-short cluster flood model fuzz outage bench bench-short test test-unit test-vulnerabilities test-alerts test-browser test-lab test-zed test-packages prerequisites

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-30s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: prerequisites ## the programs, in bin/
	CGO_ENABLED=0 go build -ldflags '$(LDFLAGS)' -o bin/earlybind-consumer ./cmd/earlybind-consumer
	CGO_ENABLED=0 go build -ldflags '$(LDFLAGS)' -o bin/earlybind ./cmd/earlybind
	CGO_ENABLED=1 go build -ldflags '$(LDFLAGS)' -o bin/earlybind-publisher ./cmd/earlybind-publisher

release: ## all of it in dist/: packages, container images (where docker answers), SBOMs, SHA256SUMS
	@if timeout 20 docker info >/dev/null 2>&1; then $(MAKE) images; \
	else $(MAKE) packages && echo 'release: docker does not answer: dist/ has no container images' >&2; fi

packages: prerequisites ## deb and rpm packages, the programs as a tarball, SBOMs and SHA256SUMS, in dist/; needs no docker
	VERSION='$(VERSION)' LDFLAGS='$(LDFLAGS)' deploy/packages/release

images: packages ## BASE=debian:trixie-slim: packages, and of their programs container images, in docker and in dist/
	VERSION='$(VERSION)' BASE='$(BASE)' deploy/container/images

lab: lab-up tour ## start the lab and run the tour: the main job, in six stories and seven migrations

lab-up: build ## start the lab: a cloud of real parts, a guest, and earlybind
	$(LAB) up

lab-down: ## remove the lab
	$(LAB) down

tour: ## run the tour in a lab that is up
	go run ./tests/tour

series: ## N=20 STORIES=bd: many migrations of some stories; appends to RESULTS and goes on where it stopped
	go run ./tests/tour -scenario $(STORIES) -n $(N) -results $(RESULTS)

kills: ## N=20: a consumer is killed at any moment of a success and of a failure
	go run ./tests/tour -scenario lk -n $(N) -results $(RESULTS)

series-without-notifications: ## N=20: successes and failures with Nova's notifications switched off
	go run ./tests/tour -notifications=false -scenario bcde -n $(N) -results var/without-notifications.jsonl

recordings: build ## ONLY=success,...: stages each outcome of a live migration in the lab and records it, where recordings/ has none yet
	go run ./tests/record -only '$(ONLY)'

rolling: N = 50
rolling: export EARLYBIND_LAB_QUORUM = true
rolling: lab-up ## N=50: two guests migrate to and fro while everything is restarted in turn, each of three RabbitMQ nodes too, 30 minutes; goes on where it stopped
	go run ./tests/rolling -cluster -n $(N) -results var/rolling.jsonl

races: ## N=20: our calls to Neutron against Nova's, -300 to +300 ms apart; goes on where it stopped
	go run ./tests/races -n $(N) -results var/races.jsonl

chaos: build ## HANDOVERS=1000: handovers while everything is killed, cut off, parted and restarted, a RabbitMQ of three nodes and four shares of instances, 40 minutes and until every message has an outcome; goes on where it stopped
	go run ./tests/chaos -cluster -shares 4 -handovers $(HANDOVERS) -results var/chaos.jsonl

chaos-short: build ## 24 of them, in about 5 minutes, 10 at most, and until every message has an outcome
	go run ./tests/chaos -handovers 24 -seed 1 -for 10m

cluster: ## a RabbitMQ of three nodes, whose leader is killed or cut off, and consumers that are killed or frozen: 10 minutes; needs the lab's images
	$(INTEGRATION) go test -v -count=1 -timeout 20m -run '^TestCluster' ./tests/integration

flood: ## ROUNDS=5: host events while Nova sends notifications by the thousand, against quiet ones; needs the lab's RabbitMQ
	$(INTEGRATION) go test -run '^$$' -bench '^BenchmarkFlood$$' -benchtime $(ROUNDS)x -timeout 20m ./tests/integration

model: ## CHECKS=10000: the handovers of recorded streams under many more orders, losses and delays than test-unit has
	go test -run '^TestModel' -rapid.checks=$(CHECKS) ./handover

fuzz: SPAN = 1m
fuzz: ## SPAN=1m: each fuzz target for so long, seeded with the recordings; an input that fails is kept in its package's testdata/fuzz
	@set -e; grep -roE --include='*_test.go' '^func Fuzz[A-Za-z]+' . | sort | while IFS=: read -r file target; do \
		target=$${target#func }; (set -x; go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(SPAN) "$$(dirname "$$file")"); done

outage: N = 10
outage: lab-up ## N=10: packets that a guest's network loses in live migrations, Nova alone and earlybind in turn, small guest and large; goes on where it stopped; with EARLYBIND_LAB_RELEASE=zed EARLYBIND_LAB_DRIVER=linuxbridge on Linux bridges, with EARLYBIND_LAB_DRIVER=ovn on OVN
	go run ./tests/outage -n $(N) -results var/outage-$${EARLYBIND_LAB_RELEASE:-2025.1}.jsonl

bench: build ## reaction, drain, firehose, memory and growth against what bounds them, goals beside results, in 16 minutes; writes bench/results.json
	go run ./bench

bench-short: build ## the same with few samples, in 2 minutes; writes var/bench-short.json
	go run ./bench -short -results var/bench-short.json

# Both releases' images are built beside the tests that need none: that waits for the network and the disk. The base images
# come before, since debootstrap may have to be installed, by the apt that test-alerts uses too.
test: ## everything but the long runs; ends with no lab running
	@deploy/lab/prerequisites browser
	@deploy/lab/base-image trixie
	@deploy/lab/base-image bookworm
	@mkdir -p var; setsid $(MAKE) lab-images >var/images.log 2>&1 & images=$$!; \
	trap 'kill -s TERM -- -$$images 2>/dev/null' EXIT; trap 'exit 130' INT TERM; \
	$(MAKE) test-unit test-packages test-vulnerabilities test-alerts test-browser && { wait $$images || { cat var/images.log; exit 1; }; }
	$(MAKE) test-lab test-zed

lab-images: # of both releases' clouds, and nothing is started
	$(LAB) images
	$(ZED) images

test-unit: prerequisites ## no server needed
	@test -z "$$(gofmt -l .)" || { echo "gofmt would change:"; gofmt -l .; exit 1; }
	GOFLAGS=-tags=$(TAGS),integration,promtool go vet ./...
	go test -vet=off -race -skip '$(ENUMERATED)' $$(go list ./... $(SERIAL:%=| grep -v '/%$$'))
	go test -vet=off $(SERIAL:%=./%)
	go test -vet=off -run '$(ENUMERATED)' ./rollback

test-vulnerabilities: ## known vulnerabilities of Go's library and of modules that programs, tests and make release call, by govulncheck; fails too if its database cannot be had
	@go mod download $(VULNDB) || { echo 'test-vulnerabilities: the database could not be fetched: nothing was checked' >&2; exit 1; }
	@go list -m -f 'database of {{.Time}}' $(VULNDB)
	@db="file://$$(go list -m -f '{{.Dir}}' $(VULNDB))/data/osv"; set -x; \
	go run $(GOVULNCHECK) -db "$$db" -test -tags $(TAGS),integration,promtool ./... && \
	go run $(GOVULNCHECK) -db "$$db" -C deploy/packages tool

test-alerts: ## the alert rules, the dashboard's queries and a scrape, by promtool, which is fetched where it is missing
	GOFLAGS=-tags=$(TAGS),promtool go test -count=1 ./tests/monitoring

test-browser: ## the page of earlybind audit -html in a real browser (chromium); its pictures are in var/
	@deploy/lab/prerequisites browser
	$(INTEGRATION) go test -count=1 -timeout 20m ./tests/browser

test-packages: images ## the packages installed by apt on a bare Debian, run, upgraded and purged under systemd, rpm, SBOMs, images
	VERSION='$(VERSION)' $(INTEGRATION) go test -count=1 -parallel 4 -timeout 20m ./tests/packages

test-lab: build ## against real RabbitMQ, Neutron, Nova and libvirt of 2025.1, and the tour
	$(LAB) down
	$(LAB) up
	$(INTEGRATION) go test -count=1 -parallel 6 -timeout 30m -skip '^TestCluster(LeaderIsCutOff|Consumer)' ./tests/integration/...
	$(INTEGRATION) go test -run '^$$' -bench '^BenchmarkFlood$$/^1000_' -benchtime 3x -timeout 10m ./tests/integration
	go run ./tests/chaos -handovers 24 -seed 1 -for 10m
	go run ./tests/tour
	$(LAB) down

test-zed: build ## against real RabbitMQ and Neutron of Zed
	$(ZED) down
	$(ZED) up --only rabbitmq,controller,compute1,compute2 --without-guest
	EARLYBIND_LAB_RELEASE=zed $(INTEGRATION) go test -count=1 -timeout 30m -parallel 8 -run '^Test(Neutron|RabbitMQ|OVSDB)' -skip '$(SLOW)' ./tests/integration/...
	EARLYBIND_LAB_RELEASE=zed go run ./tests/chaos -handovers 16 -seed 1 -for 6m
	$(ZED) down

prerequisites:
	@deploy/lab/prerequisites
