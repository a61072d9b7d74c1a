"""How fast the journal catches up after an outage: from the ledger to a broker, beside paho alone with as many messages
in flight. The two take turns of a few seconds, so whatever else the machine does falls on both alike.

`python -m benchmarks.journal [--events N] [--runs N]` starts a mosquitto of its own on a free port of the loopback interface. Prints events a second,
and microseconds of processor time an event, which other work on the machine does not change; the ratio of both to paho's; and by how much the
resident memory grew at most while it was sending. A subscriber in a process of its own receives the events in both cases; it fails the run where one
is missing, comes twice or out of order.
"""

import argparse
import contextlib
import multiprocessing
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import paho.mqtt.client as paho

from device.common.clock import Clock
from device.common.run_in_subprocess import peak_memory_mib
from device.daemon.system_metrics import resident_mib
from device.events import ItemSorted, encode
from device.ledger.database import LedgerDatabase, NumberedEvent, Writes, stamp
from device.ledger.ledger import Ledger
from device.ledger.pruning import Retention
from device.ledger.schema import FILE
from device.mqtt.outbox import IN_FLIGHT
from device.mqtt.reconnecting_link import Link
from device.mqtt.settings import MqttSettings

MISSING_S = 60.0
"""an acknowledged event that the subscriber has not got after so long is missing"""
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
    parser.add_argument("--turn", type=float, default=2.0, metavar="SECONDS", help="how long each of the two sends in turn (default: %(default)s)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        broker = start_mosquitto(Path(folder), port)
        try:
            for number in range(arguments.runs):
                publishers = (Publisher(journal, "bench", 1, 1), Publisher(paho_alone, "paho", EVENT.seq, 0))
                ours, bare = run_in_turns(publishers, arguments.turn, (port, arguments.events, Path(folder) / str(number)))
                print(
                    f"journal {ours.per_s:5.0f}/s, {ours.cpu_us:.0f} us   paho alone {bare.per_s:5.0f}/s, {bare.cpu_us:.0f} us   ratio "
                    f"{ours.per_s / bare.per_s:.2f}, of processor time {ours.cpu_us / bare.cpu_us:.2f}   {ours.grown_mib:+.1f} MiB   "
                    f"load {os.getloadavg()[0]:.1f}",
                    flush=True,
                )
        finally:
            broker.kill()
            broker.wait()


@dataclass(frozen=True, slots=True)
class Publisher:
    """What publishes, in a process of its own: says "ready" over its pipe, begins when told to, and says its `Cost` at the end."""

    publish: Callable[[Connection, int, int, Path], None]
    device: str
    first_seq: int
    step: int


@dataclass(frozen=True, slots=True)
class Cost:
    cpu_us: float
    """of processor time, an event"""
    grown_mib: float = 0.0
    per_s: float = 0.0


def run_in_turns(publishers: tuple[Publisher, ...], turn_s: float, setting: tuple[int, int, Path]) -> list[Cost]:
    """Let each send for `turn_s`, then the next one, until all have sent everything. setting: port, number of events, and a new folder."""
    port, events, _ = setting
    with contextlib.ExitStack() as stack:
        running: list[tuple[BaseProcess, Connection]] = []
        for publisher in publishers:
            stack.enter_context(receiving(port, publisher, events))
            running.append(stack.enter_context(in_process(publisher.publish, *setting)))
        for process, pipe in running:
            expect(pipe, "ready")
            stop(process)
            pipe.send("go")
        took_s, costs = [0.0] * len(running), [Cost(0.0)] * len(running)
        unfinished = list(range(len(running)))
        while unfinished:
            for each in list(unfinished):
                process, pipe = running[each]
                began_s = time.monotonic()
                os.kill(process.pid or 0, signal.SIGCONT)
                finished = pipe.poll(turn_s)
                took_s[each] += time.monotonic() - began_s
                stop(process)
                if finished:
                    costs[each] = replace(pipe.recv(), per_s=events / took_s[each])
                    unfinished.remove(each)
    return costs


@contextlib.contextmanager
def in_process(target: Callable[..., None], *arguments: object) -> Iterator[tuple[BaseProcess, Connection]]:
    """A process of its own, and a pipe to it, which is its first argument."""
    processes = multiprocessing.get_context("spawn")
    ours, its = processes.Pipe()
    process = processes.Process(target=target, args=(its, *arguments), daemon=True)
    process.start()
    its.close()
    try:
        yield process, ours
    finally:
        process.kill()
        process.join()


def stop(process: BaseProcess) -> None:
    os.kill(process.pid or 0, signal.SIGSTOP)


def expect(pipe: Connection, word: str) -> None:
    if (told := pipe.recv()) != word:
        raise SystemExit(f"expected {word!r}, got {told!r}")


def journal(parent: Connection, port: int, events: int, folder: Path) -> None:
    """Publish from a ledger that was filled while no broker was there."""
    # Without a limit in the way: by default 200,000 events wait.
    fill(folder, Retention(keep=2 * events, keep_undelivered=2 * events), events)
    ledger = Ledger(folder, "bench", Clock(), keep=2 * events, keep_undelivered=2 * events)
    parent.send("ready")
    expect(parent, "go")
    Path("/proc/self/clear_refs").write_text("5")  # sets the peak back
    before_mib, cpu_s = resident_mib(), time.process_time()
    link = Link(MqttSettings(host="127.0.0.1", port=port), "bench", ledger)
    while ledger.undelivered:
        time.sleep(0.02)
    cpu_s = time.process_time() - cpu_s
    parent.send(Cost(1e6 * cpu_s / events, (peak_memory_mib() or 0.0) - before_mib))
    link.stop(5.0)
    ledger.close(5.0)


def fill(folder: Path, retention: Retention, events: int) -> None:
    """Store events in larger transactions than a daemon does, which takes less time."""
    folder.mkdir()
    clock = Clock()
    with contextlib.closing(LedgerDatabase(folder / FILE, "bench", clock, retention)) as database:
        while (missing := events - database.undelivered) > 0:
            stored = [each for each in database.number([stamp(EVENT, clock)] * min(missing, 5000)) if isinstance(each, NumberedEvent)]
            database.apply(database.commit(Writes(stored)))
        database.finish((), "clean")


def paho_alone(parent: Connection, port: int, events: int, _folder: Path) -> None:
    """Publish messages as large with paho and QoS 1."""
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
    parent.send("ready")
    expect(parent, "go")
    cpu_s = time.process_time()
    client.connect("127.0.0.1", port)
    client.loop_start()
    for _ in range(events):
        room.acquire()
        client.publish("sortbin/paho/journal", payload, qos=1)
    done.wait()
    parent.send(Cost(1e6 * (time.process_time() - cpu_s) / events))
    client.disconnect()
    client.loop_stop()


@contextlib.contextmanager
def receiving(port: int, publisher: Publisher, events: int) -> Iterator[None]:
    """A subscriber from before the block until it has all events. Exits where one is missing, comes twice or out of order."""
    with in_process(receive, port, publisher.device, (publisher.first_seq, publisher.step, events)) as (_, pipe):
        expect(pipe, "subscribed")
        yield
        if not pipe.poll(MISSING_S):
            raise SystemExit(f"not all of the {events} events of {publisher.device} came")
        expect(pipe, "all")


def receive(parent: Connection, port: int, device: str, numbers: tuple[int, int, int]) -> None:
    """Say "subscribed", and then what was wrong with the events: "all" where all came once and in order.

    numbers: the first one, by how much each is above the one before, and how many there are.
    """
    first, step, events = numbers
    client = paho.Client(paho.CallbackAPIVersion.VERSION2)
    received, problem = 0, ""

    def on_message(_client: object, _userdata: object, message: paho.MQTTMessage) -> None:
        nonlocal received, problem
        expected, found = first + step * received, re.search(rb'"seq":(\d+)', message.payload)
        received += 1
        if not problem and (found is None or int(found[1]) != expected):
            problem = f"event {expected}, but {message.payload[:200]!r} came"

    client.on_message = on_message
    client.on_subscribe = lambda *_: parent.send("subscribed")
    client.connect("127.0.0.1", port)
    client.subscribe(f"sortbin/{device}/journal", qos=1)
    client.loop_start()
    # Half a second more shows events that come twice at the end.
    while not problem and received < events:
        time.sleep(0.5)
    time.sleep(0.5)
    parent.send(problem or ("all" if received == events else f"{events} events, but {received} came"))


def start_mosquitto(folder: Path, port: int) -> "subprocess.Popen[bytes]":
    program = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    if program is None:
        raise SystemExit("mosquitto is not installed")
    file = folder / "mosquitto.conf"
    file.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nlog_dest none\nmax_queued_messages 0\n")
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
