"""Tries a broker once, for `sortbin check`: can this device log in, and may it publish its topics?"""

import threading
import uuid

from device.mqtt import MqttError
from device.mqtt.connection import CLOSE_S, Connection, connect, in_time
from device.mqtt.settings import MqttSettings

NOT_AUTHORIZED = 0x87
"""reason code of MQTT 5"""


def probe(settings: MqttSettings, wait_s: float) -> None:
    """Connect, log in and disconnect once. Returns within about twice `wait_s` seconds. Raises MqttError, which says what is wrong."""

    def attempt() -> None:
        connect(settings, _trial_id(), will_topic=None, on_news=lambda: None, wait_s=wait_s).close()

    in_time(attempt, settings, 2 * wait_s + CLOSE_S)


def may_publish(settings: MqttSettings, topic: str, wait_s: float) -> bool | None:
    """Publish one empty message, not retained, and return whether the broker allows the topic; None where it does not say.

    Needs MQTT 5: a broker of MQTT 3.1.1 acknowledges what it forbids and drops it. Blocks as `Connection.open` does, and `wait_s` seconds more.
    """
    if settings.version != 5:
        return None
    answered = threading.Event()
    connection = Connection(settings, _trial_id(), will_topic=None, on_news=answered.set)
    try:
        connection.open(wait_s)
        connection.publish(topic, b"")
        answered.wait(wait_s)
        answer = next(iter(connection.acknowledgements()), None)
        return None if answer is None else answer.refusal is None or answer.refusal != NOT_AUTHORIZED
    except MqttError:
        return None
    finally:
        connection.close()


def _trial_id() -> str:
    return f"sortbin-check-{uuid.uuid4().hex[:8]}"
