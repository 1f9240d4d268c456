# How the lab's containers run their daemons: sourced by the start script of a container that has several.
# A container is ready when its own check has passed since a daemon last ended; its health check looks at the
# file only, because a real question to five APIs every few seconds would be felt on two cores.

ready=/run/lab/ready
mkdir -p /run/lab
rm -f "$ready"

say() { printf '%s %s\n' "$(date -u +%H:%M:%S)" "$*"; }

# daemon NAME LOG COMMAND...: runs COMMAND for ever with its output in LOG. (nova-compute was once seen to end
# because Keystone reset a connection.)
daemon() {
	local name=$1 log=$2
	shift 2
	mkdir -p "$(dirname "$log")"
	while :; do
		say "$name starts, log $log"
		"$@" >>"$log" 2>&1
		local status=$?
		rm -f "$ready"
		say "$name ended with status $status and is started again; its last line: $(tail -n 1 "$log")"
		sleep 2
	done &
}

# wait_for WHAT COMMAND...: returns when COMMAND succeeds.
wait_for() {
	local what=$1 since=$SECONDS
	shift
	until "$@" >/dev/null 2>&1; do sleep 0.5; done
	say "$what: there after $((SECONDS - since)) s"
}

# keep_ready COMMAND...: runs COMMAND until it succeeds, now and whenever a daemon had to be started again.
# Stays in the foreground; a stop of the container ends it at once (the data of a lab is not worth a wait).
keep_ready() {
	trap 'exit 0' TERM INT
	while :; do
		if [ ! -e "$ready" ] && "$@" >/run/lab/not-ready 2>&1; then
			touch "$ready"
			say "ready after $SECONDS s"
		fi
		sleep 1 &
		wait $!
	done
}
