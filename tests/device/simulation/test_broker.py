import logging
import socket
import subprocess
import sys
import threading
from pathlib import Path

import paho.mqtt.client as paho
import pytest

pytest.importorskip("amqtt")

from device.simulation.broker import BrokerError, EmbeddedBroker

WAIT_S = 20.0
ROOT = Path(__file__).parents[3]


def test_it_forwards_and_retains_messages(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        broker = EmbeddedBroker()
        speaker, listener = (paho.Client(paho.CallbackAPIVersion.VERSION2) for _ in range(2))
        heard: list[paho.MQTTMessage] = []
        enough = threading.Event()

        def hear(client: paho.Client, data: object, message: paho.MQTTMessage) -> None:
            heard.append(message)
            if len(heard) == 2:
                enough.set()

        speaker.connect("127.0.0.1", broker.port)
        speaker.loop_start()
        speaker.publish("a/kept", b"1", qos=1, retain=True).wait_for_publish(WAIT_S)
        listener.on_message = hear
        listener.on_connect = lambda client, *_: client.subscribe("a/#", qos=1)
        listener.on_subscribe = lambda *_: speaker.publish("a/new", b"2", qos=1)
        listener.connect("127.0.0.1", broker.port)
        listener.loop_start()
        assert enough.wait(WAIT_S)
        for client in (speaker, listener):
            client.disconnect()
            client.loop_stop()
        broker.stop()
        broker.stop()
    assert {(message.topic, message.payload, message.retain) for message in heard} == {("a/kept", b"1", True), ("a/new", b"2", False)}
    assert caplog.text == ""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", broker.port))


def test_a_port_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
        with pytest.raises(BrokerError, match=f"cannot listen on 127.0.0.1:{port}"):
            EmbeddedBroker(port)


def test_a_missing_amqtt_names_the_package_to_install() -> None:
    program = (
        "import sys\n"
        "sys.modules['amqtt.broker'] = None\n"
        "from device.simulation.broker import BrokerError, EmbeddedBroker\n"
        "try:\n"
        "    EmbeddedBroker()\n"
        "except BrokerError as error:\n"
        "    print(error)\n"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, timeout=60, check=True)
    assert 'pip install "sortbin[demo]"' in said.stdout


def test_only_the_demo_imports_amqtt() -> None:
    program = "import sys, device.cli, device.daemon.control_loop, device.mqtt.reconnecting_link; sys.exit('amqtt' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, timeout=60, check=False).returncode == 0
