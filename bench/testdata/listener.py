"""Reads notifications with the real oslo.messaging, as a service would.

listener.py URL EXCHANGE TOPIC COUNT
    declares the queue TOPIC.info of EXCHANGE as a quorum queue; reads COUNT
    notifications from it and prints the seconds that this took, of the clock and
    of the CPU.
"""
import json
import resource
import sys
import tempfile
import threading
import time

from oslo_config import cfg
import oslo_messaging


class Reader:
    """Takes in notifications until there are enough."""

    def __init__(self, count):
        self.missing, self.done = count, threading.Event()
        if not count:
            self.done.set()

    def info(self, context, publisher_id, event_type, payload, metadata):
        self.missing -= 1
        if self.missing == 0:
            self.done.set()

    error = info


def cpu():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main(url, exchange, topic, count):
    conf = cfg.ConfigOpts()
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as settings:
        settings.write("[DEFAULT]\ncontrol_exchange = %s\n[oslo_messaging_rabbit]\nrabbit_quorum_queue = true\n" % exchange)
        settings.flush()
        conf([], project="bench", default_config_files=[settings.name])
        bus = oslo_messaging.get_notification_transport(conf, url)
    reader = Reader(int(count))
    target = oslo_messaging.Target(exchange=exchange, topic=topic)
    listener = oslo_messaging.get_notification_listener(bus, [target], [reader], executor="threading")
    began, used = time.monotonic(), cpu()
    listener.start()
    if not reader.done.wait(600):
        sys.exit("%d of %s notifications are missing" % (reader.missing, count))
    took = {"seconds": time.monotonic() - began, "cpu": cpu() - used}
    listener.stop()
    listener.wait()
    bus.cleanup()
    print(json.dumps(took))


main(*sys.argv[1:])
