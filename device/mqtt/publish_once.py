"""Publishes one last state for a daemon that does not run."""

import threading
import time

import msgspec

from device.mqtt.connection import client_id, connect, in_time
from device.mqtt.payloads import State
from device.mqtt.settings import MqttSettings
from device.mqtt.topics import Topics


def publish_final_state(settings: MqttSettings, device: str, state: State, wait_s: float) -> None:
    """Publish a retained `state`, then `offline`. Takes at most `wait_s` seconds. Raises MqttError, and TopicError for an invalid device id or base.

    A link of the same device is disconnected by this: it has the same client id.
    """
    topics = Topics(device, settings.base)
    deadline_s = time.monotonic() + wait_s

    def attempt() -> None:
        news = threading.Event()
        connection = connect(settings, client_id(device, settings.base), will_topic=None, on_news=news.set, wait_s=wait_s / 2)
        try:
            published = connection.publish(topics.state, msgspec.json.encode(state), retain=True)
            waiting = {published, connection.publish(topics.availability, b"offline", retain=True)}
            while waiting and connection.lost is None and news.wait(deadline_s - time.monotonic()):
                news.clear()
                waiting -= {each.message for each in connection.acknowledgements()}
        finally:
            connection.close()

    in_time(attempt, settings, wait_s)
