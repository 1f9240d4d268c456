"""A service of Nova's kind, with the real oslo.messaging, configured as nova.conf is.

service.py COUNT RPC_URL [NOTIFICATIONS_URL]
    answers an RPC of its own through [DEFAULT] transport_url, and sends COUNT
    notifications as nova-compute does, with [oslo_messaging_notifications]
    transport_url set if there is a second URL

The instances of the notifications are printed as a JSON list when all is done.
"""
import json
import sys
import tempfile
import uuid

from oslo_config import cfg
import oslo_messaging

count, rpc_url, *notifications_url = sys.argv[1:]

conf = cfg.CONF  # where oslo.messaging looks for its metrics
with tempfile.NamedTemporaryFile("w", suffix=".conf") as settings:
    settings.write("[DEFAULT]\ntransport_url = %s\ncontrol_exchange = nova\n"
                   "[oslo_messaging_notifications]\ndriver = messagingv2\n" % rpc_url)
    for url in notifications_url:
        settings.write("transport_url = %s\n" % url)
    settings.flush()
    conf([], project="nova", default_config_files=[settings.name])


class Endpoint:
    def double(self, context, number):
        return 2 * number


rpc = oslo_messaging.get_rpc_transport(conf)
server = oslo_messaging.get_rpc_server(rpc, oslo_messaging.Target(topic="compute", server="compute2"), [Endpoint()], executor="threading")
server.start()
client = oslo_messaging.get_rpc_client(rpc, oslo_messaging.Target(topic="compute", server="compute2"), timeout=30)
assert client.call({}, "double", number=21) == 42

bus = oslo_messaging.get_notification_transport(conf)
notifier = oslo_messaging.Notifier(bus, "compute.compute2")
sent = [str(uuid.uuid4()) for _ in range(int(count))]
for instance in sent:
    notifier.info({"request_id": "req-" + instance}, "compute.instance.live_migration.pre.start",
                  {"instance_id": instance, "host": "compute1"})

server.stop()
server.wait()
for transport in (rpc, bus):
    transport.cleanup()
print(json.dumps(sent))
