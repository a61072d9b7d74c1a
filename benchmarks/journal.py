"""How fast the journal catches up after an outage: from the ledger to a broker, beside paho alone with as many messages in flight.

`python -m benchmarks.journal [--events N] [--runs N]` starts a mosquitto of its own on a free port of the loopback interface. Prints events a second,
and microseconds of processor time an event, which other work on the machine does not change; the ratio of both to paho's; and by how much the
resident memory grew at most while it was sending. A million events take some minutes to store first.
"""

import argparse
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import paho.mqtt.client as paho

from device.common.clock import Clock
from device.common.run_in_subprocess import peak_memory_mib
from device.daemon.system_metrics import resident_mib
from device.events import ItemSorted, encode
from device.ledger.ledger import Ledger
from device.mqtt.outbox import IN_FLIGHT
from device.mqtt.reconnecting_link import Link
from device.mqtt.settings import MqttSettings

LABELS = ("cardboard", "glass", "metal", "paper", "plastic", "trash")
EVENT = ItemSorted(
    item="0" * 32,
    bin="glass",
    label="glass",
    p=0.98,
    probabilities=dict.fromkeys(LABELS, 0.166667),
    frames=3,
    decided_s=1.1,
    moved_s=0.9,
    bundle="trashnet",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        broker = start_mosquitto(Path(folder), port)
        try:
            for number in range(arguments.runs):
                ours_s, ours_us, grown_mib = journal(Path(folder) / str(number), port, arguments.events)
                bare_s, bare_us = paho_alone(port, arguments.events)
                print(
                    f"journal {ours_s:5.0f}/s, {ours_us:.0f} us   paho alone {bare_s:5.0f}/s, {bare_us:.0f} us   "
                    f"ratio {ours_s / bare_s:.2f}, of processor time {ours_us / bare_us:.2f}   {grown_mib:+.1f} MiB   load {os.getloadavg()[0]:.1f}",
                    flush=True,
                )
        finally:
            broker.kill()
            broker.wait()


def journal(folder: Path, port: int, events: int) -> tuple[float, float, float]:
    """Events a second, microseconds of processor time each, and growth in MiB, from a ledger that was filled while no broker was there."""
    # Without a limit in the way: by default 200,000 events wait.
    ledger = Ledger(folder, "bench", Clock(), keep=2 * events, keep_undelivered=2 * events)
    for _ in range(0, events, 200):
        for stored in [ledger.record(EVENT) for _ in range(200)]:
            stored.result()
    Path("/proc/self/clear_refs").write_text("5")  # sets the peak back
    before_mib = resident_mib()
    began_s, cpu_s = time.monotonic(), time.process_time()
    link = Link(MqttSettings(host="127.0.0.1", port=port), "bench", ledger)
    while ledger.undelivered:
        time.sleep(0.02)
    took_s, cpu_s = time.monotonic() - began_s, time.process_time() - cpu_s
    grown_mib = (peak_memory_mib() or 0.0) - before_mib
    link.stop(5.0)
    ledger.close(5.0)
    return events / took_s, 1e6 * cpu_s / events, grown_mib


def paho_alone(port: int, events: int) -> tuple[float, float]:
    """The same for messages as large that paho publishes with QoS 1."""
    payload, done, acknowledged = encode(EVENT), threading.Event(), []
    client = paho.Client(paho.CallbackAPIVersion.VERSION2)
    client.max_inflight_messages_set(IN_FLIGHT)
    room = threading.Semaphore(IN_FLIGHT)

    def on_publish(*_: object) -> None:
        acknowledged.append(None)
        room.release()
        if len(acknowledged) == events:
            done.set()

    client.on_publish = on_publish
    began_s, cpu_s = time.monotonic(), time.process_time()
    client.connect("127.0.0.1", port)
    client.loop_start()
    for _ in range(events):
        room.acquire()
        client.publish("sortbin/bench/journal", payload, qos=1)
    done.wait()
    took_s, cpu_s = time.monotonic() - began_s, time.process_time() - cpu_s
    client.disconnect()
    client.loop_stop()
    return events / took_s, 1e6 * cpu_s / events


def start_mosquitto(folder: Path, port: int) -> "subprocess.Popen[bytes]":
    program = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    if program is None:
        raise SystemExit("mosquitto is not installed")
    file = folder / "mosquitto.conf"
    file.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nlog_dest none\n")
    broker = subprocess.Popen([program, "-c", str(file)])
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1.0).close()
            return broker
        except ConnectionRefusedError:
            time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
