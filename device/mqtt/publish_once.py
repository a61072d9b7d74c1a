"""Words for a device that is not there: what is wrong with it, left at the broker."""

import threading
import time

import msgspec

from device.mqtt.connection import client_id, connected, in_time
from device.mqtt.payloads import State
from device.mqtt.settings import MqttSettings
from device.mqtt.topics import Topics


def publish_final_state(settings: MqttSettings, device: str, state: State, wait_s: float) -> None:
    """Publish a retained `state`, then `offline`. Takes at most `wait_s` seconds. Raises MqttError; TopicError for names that topics cannot hold.

    Ends the connection of a link that speaks for the same device, if there is one: its client has the same id.
    """
    topics = Topics(device, settings.base)
    deadline_s = time.monotonic() + wait_s

    def attempt() -> None:
        news = threading.Event()
        connection = connected(settings, client_id(device, settings.base), will_topic=None, wake=news.set, wait_s=wait_s / 2)
        try:
            said = connection.publish(topics.state, msgspec.json.encode(state), retain=True)
            waiting = {said, connection.publish(topics.availability, b"offline", retain=True)}
            while waiting and connection.lost is None and news.wait(deadline_s - time.monotonic()):
                news.clear()
                waiting -= {answer.message for answer in connection.answers()}
        finally:
            connection.close()

    in_time(attempt, settings, wait_s)
