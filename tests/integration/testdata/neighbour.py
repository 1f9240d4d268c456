"""Another service on the same broker, with the real oslo.messaging.

neighbour.py URL STYLE notify EXCHANGE COUNT
    sends COUNT notifications about as many instances that begin to migrate
neighbour.py URL STYLE listen EXCHANGE TOPIC COUNT [POOL]
    reads COUNT notifications from the queue TOPIC.info, or from the queue POOL
    of its own, which stays

STYLE is how the service declares what it uses: transient, durable, quorum.
What was sent, or read, is printed as a JSON list when all is done.
"""
import json
import sys
import tempfile
import threading
import uuid

from oslo_config import cfg
import oslo_messaging

STYLES = {
    "transient": "",
    "durable": "amqp_durable_queues = true",
    "quorum": "rabbit_quorum_queue = true",
}


def transport(url, style, exchange):
    conf = cfg.ConfigOpts()
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as settings:
        settings.write("[DEFAULT]\ncontrol_exchange = %s\n[oslo_messaging_rabbit]\n%s\n" % (exchange, STYLES[style]))
        settings.flush()
        conf([], project="neighbour", default_config_files=[settings.name])
        return oslo_messaging.get_notification_transport(conf, url)


def notify(transport, count):
    notifier = oslo_messaging.Notifier(transport, "compute.compute2", driver="messagingv2", topics=["notifications"])
    sent = [str(uuid.uuid4()) for _ in range(count)]
    for instance in sent:
        notifier.info({"request_id": "req-" + instance}, "compute.instance.live_migration.pre.start",
                      {"instance_id": instance, "host": "compute1"})
    return sent


class Reader:
    """Takes in notifications of every priority until there are enough."""

    def __init__(self, count):
        self.missing, self.read, self.done = count, [], threading.Event()
        if not count:
            self.done.set()

    def info(self, context, publisher_id, event_type, payload, metadata):
        self.read.append({"publisher_id": publisher_id, "event_type": event_type, "payload": payload,
                          "message_id": metadata["message_id"]})
        self.missing -= 1
        if self.missing == 0:
            self.done.set()

    error = info


def listen(transport, exchange, topic, count, pool=None):
    reader = Reader(count)
    target = oslo_messaging.Target(exchange=exchange, topic=topic)
    listener = oslo_messaging.get_notification_listener(transport, [target], [reader], executor="threading", pool=pool)
    listener.start()
    if not reader.done.wait(60):
        sys.exit("%d of %d notifications came within a minute" % (len(reader.read), count))
    listener.stop()
    listener.wait()
    return reader.read


def main(url, style, action, exchange, *rest):
    bus = transport(url, style, exchange)
    if action == "notify":
        result = notify(bus, int(rest[0]))
    else:
        result = listen(bus, exchange, rest[0], int(rest[1]), *rest[2:])
    bus.cleanup()
    print(json.dumps(result))


main(*sys.argv[1:])
