"""The daemon with a broker: what it publishes, also when it is stopped or killed."""

import contextlib
import hashlib
import itertools
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from device.common.clock import Clock
from device.daemon import refused_start_backoff as restart_backoff
from device.events import Cleared, Event, Fault, Started, decode
from device.ledger.ledger import Ledger
from device.ledger.reader import read_events
from device.ledger.schema import FILE
from device.policy.rules import default_rules
from device.simulation.broker import EmbeddedBroker
from device.vision.inference.bundle import EDGETPU_FILE, MODEL_FILE, Bundle, write_bundle
from device.vision.inference.preprocess import Pixels
from tests.device.vision.inference.test_runtime import answering, library

BINS = ("paper", "glass", "metal", "plastic", "trash")


class Listener:
    """A dashboard: subscribes to everything and stores it."""

    def __init__(self, port: int) -> None:
        self.heard: list[tuple[str, bytes, bool]] = []
        self._news = threading.Condition()
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self._client.on_message = self._on_message
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def wait_for(self, what: Callable[[dict[str, bytes]], bool], wait_s: float = 60.0) -> dict[str, bytes]:
        """Wait until the newest payload of each topic satisfies `what`, and return them."""
        with self._news:
            assert self._news.wait_for(lambda: what(self._newest()), wait_s), self._newest()
            return self._newest()

    def all_of(self, topic: str) -> list[bytes]:
        with self._news:
            return [payload for name, payload, _ in self.heard if name == topic]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _newest(self) -> dict[str, bytes]:
        return {topic: payload for topic, payload, _ in self.heard}

    def _on_message(self, client: paho.Client, data: object, message: paho.MQTTMessage) -> None:
        with self._news:
            self.heard.append((message.topic, message.payload, message.retain))
            self._news.notify_all()


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    broker = EmbeddedBroker()
    yield broker
    broker.stop()


@pytest.fixture
def listener(broker: EmbeddedBroker) -> Iterator[Listener]:
    listener = Listener(broker.port)
    yield listener
    listener.close()


@pytest.fixture
def running(
    broker: EmbeddedBroker, tiny_bundle: Bundle, tmp_path: Path, painted: Callable[..., Pixels]
) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """`running()` starts `sortbin run` on a replayed camera that sees an empty tray, then one with a large green item, in turn."""
    (tmp_path / "pictures").mkdir()
    empty, with_item = painted("", 240, 320), painted("", 240, 320).copy()
    with_item[20:220, 26:294] = painted("glass", 200, 268)
    for number, pixels in enumerate([empty, empty, with_item, empty]):
        cv2.imwrite(str(tmp_path / "pictures" / f"{number}.png"), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    gates = "".join(f'[[gate]]\nkind = "simulated"\nbin = "{name}"\n' for name in BINS)
    config = tmp_path / "sortbin.toml"
    config.write_text(
        f'[device]\nid = "bench"\ntitle = "Bench"\nlocation = "Hall 3, östlich"\n'
        f'state = "{tmp_path / "state"}"\n[model]\nbundle = "{tiny_bundle.folder}"\n'
        f'[camera]\nkind = "replay"\npath = "{tmp_path / "pictures"}"\nhold_s = 1.5\n{gates}[mqtt]\nhost = "127.0.0.1"\n'
        f"port = {broker.port}\nversion = 3\n",
        encoding="utf-8",
    )
    started: list[subprocess.Popen[bytes]] = []

    def start(**environment: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "device.cli", "run", "--config", str(config)]
        started.append(subprocess.Popen(command, stderr=subprocess.PIPE, env=os.environ | environment))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait(10)
        assert process.stderr is not None
        process.stderr.close()


def test_a_dashboard_receives_info_state_events_and_offline(running: Callable[..., subprocess.Popen[bytes]], listener: Listener) -> None:
    process = running()
    newest = listener.wait_for(
        lambda seen: (
            "sortbin/bench/journal" in seen
            and json.loads(seen.get("sortbin/bench/state", b"{}")).get("last_item") is not None
            and json.loads(seen.get("sortbin/bench/bin/glass", b"{}")).get("items", 0) >= 1
            and json.loads(seen.get("sortbin/bench/health", b"{}")).get("address")
        )
    )
    assert newest["sortbin/bench/availability"] == b"online"
    info, state = json.loads(newest["sortbin/bench/info"]), json.loads(newest["sortbin/bench/state"])
    assert {json.loads(event)["install"] for event in listener.all_of("sortbin/bench/journal")} == {info["install"]}
    assert list(info["bins"]) == ["paper", "glass", "metal", "plastic", "trash"]
    digest = hashlib.sha256(default_rules().read_bytes()).hexdigest()
    assert info["rules"] == {"name": "trashnet", "version": "1", "sha256": digest}
    assert (info["title"], info["location"], info["bin_of"]["cardboard"]) == ("Bench", "Hall 3, östlich", "paper")
    assert info["hardware"]["camera"] == "replay"
    assert info["hardware"]["gates"]["glass"] == "simulated"
    assert state["last_item"]["bin"] == "glass"
    assert state["totals"]["glass"]["sorted"] >= 1
    health = json.loads(newest["sortbin/bench/health"])
    assert health["backend"].startswith("ai-edge-litert")
    assert (health["address"], health["wifi_dbm"], set(health["gates"])) == ("127.0.0.1", None, set(BINS))
    first = json.loads(listener.all_of("sortbin/bench/state")[0])
    assert {name: each["sorted"] for name, each in first["totals"].items()} == dict.fromkeys(BINS, 0)
    journal_1 = json.loads(listener.all_of("sortbin/bench/journal")[0])
    for payload in (info, first, state, health, json.loads(newest["sortbin/bench/bin/glass"])):
        assert payload["boot"] == journal_1["boot"] and payload["time"].endswith("Z")
    assert 0 <= first["uptime_s"] < state["uptime_s"]
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    listener.wait_for(lambda seen: seen["sortbin/bench/availability"] == b"offline")
    journal = [json.loads(event) for event in listener.all_of("sortbin/bench/journal")]
    assert [event["seq"] for event in journal] == list(range(1, len(journal) + 1))
    assert {"started", "item_sorted"} <= {event["type"] for event in journal}


def test_the_state_gives_the_error_of_a_missing_camera(running: Callable[..., subprocess.Popen[bytes]], listener: Listener, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "pictures")
    running()
    newest = listener.wait_for(lambda seen: json.loads(seen.get("sortbin/bench/state", b"{}")).get("mode") == "fault")
    expected = f"{tmp_path / 'pictures'}: no such file or folder; camera.path names what to replay"
    state = json.loads(newest["sortbin/bench/state"])
    fault = state["fault"]
    assert (fault["fault"], fault["message"]) == ("camera", expected)
    assert fault["since"] <= state["time"] and state["faults"] == [fault]
    listener.wait_for(lambda _: len(listener.all_of("sortbin/bench/health")) >= 2, wait_s=30.0)  # the second tells of the fault


def counted(journal: list[bytes]) -> Counter[str]:
    """Items per bin and outcome, as `state` and `bin/<bin>` count them."""
    named = {"item_sorted": "sorted", "item_rejected": "rejected", "item_interrupted": "interrupted"}
    events = [json.loads(event) for event in journal]
    return Counter(f"{event['bin']} {named[event['type']]}" for event in events if event["type"] in named)


@pytest.mark.slow
def test_the_last_state_counts_an_item_interrupted_by_the_stop(
    running: Callable[..., subprocess.Popen[bytes]], listener: Listener, tmp_path: Path
) -> None:
    process = running()
    listener.wait_for(lambda seen: json.loads(seen.get("sortbin/bench/state", b"{}")).get("mode") == "sorting")
    with contextlib.closing(sqlite3.connect(f"{(tmp_path / 'state' / FILE).as_uri()}?mode=ro", uri=True)) as ledger:
        while not ledger.execute("SELECT 1 FROM intent").fetchone():
            pass
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    newest = listener.wait_for(lambda seen: seen["sortbin/bench/availability"] == b"offline")
    totals = json.loads(newest["sortbin/bench/state"])["totals"]
    told = counted(listener.all_of("sortbin/bench/journal"))
    assert told["glass interrupted"] == 1
    assert Counter({f"{name} {kind}": n for name, each in totals.items() for kind, n in each.items() if n}) == told


@pytest.mark.slow
@pytest.mark.parametrize("into", ["", "trash"])
def test_a_hazard_raises_an_event_and_an_alarm(
    into: str, running: Callable[..., subprocess.Popen[bytes]], listener: Listener, tmp_path: Path
) -> None:
    pack, config = tmp_path / "pack.toml", tmp_path / "sortbin.toml"
    head = f'hazards = ["glass"]\n[hazard]\ninto = "{into}"\n[bins.paper]'
    pack.write_text(default_rules().read_text(encoding="utf-8").replace("[bins.paper]", head), encoding="utf-8")
    config.write_text(config.read_text(encoding="utf-8").replace("[model]", f'[model]\nrules = "{pack}"'), encoding="utf-8")
    running()
    if into:
        newest = listener.wait_for(lambda seen: json.loads(seen.get("sortbin/bench/bin/trash", b"{}")).get("hazards", 0) >= 1)
    else:
        listener.wait_for(lambda seen: (json.loads(seen.get("sortbin/bench/state", b"{}")).get("fault") or {}).get("fault") == "hazard")
        newest = listener.wait_for(lambda seen: any(b'"cleared"' in event for event in listener.all_of("sortbin/bench/journal")))
    for topic in ("journal", "event"):
        listener.wait_for(lambda _, topic=topic: any(json.loads(event)["type"] == "hazard" for event in listener.all_of(f"sortbin/bench/{topic}")))
    journal = [json.loads(event) for event in listener.all_of("sortbin/bench/journal")]
    hazard = next(event for event in journal if event["type"] == "hazard")
    assert (hazard["label"], hazard["bin"]) == ("glass", into)
    totals = json.loads(newest["sortbin/bench/state"])["totals"].values()
    assert into or not any(of_bin["sorted"] + of_bin["rejected"] + of_bin["hazards"] for of_bin in totals), "a held item is in no bin"


@pytest.mark.slow
def test_after_a_restart_the_state_still_names_the_last_item(
    running: Callable[..., subprocess.Popen[bytes]], listener: Listener, tmp_path: Path
) -> None:
    process = running()
    listener.wait_for(lambda seen: json.loads(seen.get("sortbin/bench/state", b"{}")).get("last_item") is not None)
    process.kill()
    listener.wait_for(lambda seen: seen.get("sortbin/bench/availability") == b"offline")
    before = len(listener.all_of("sortbin/bench/state"))
    items = [event for _, payload in read_events(tmp_path / "state") if (event := json.loads(payload))["type"] in ("item_sorted", "item_rejected")]
    shutil.copy(tmp_path / "pictures" / "0.png", tmp_path / "pictures" / "2.png")  # no other item comes
    running()
    listener.wait_for(lambda _: len(listener.all_of("sortbin/bench/state")) > before)
    first = json.loads(listener.all_of("sortbin/bench/state")[before])
    last = {"reason": None} | items[-1]
    assert first["last_item"] == {key: last[key] for key in ("item", "bin", "label", "p", "time", "reason")}


def test_an_item_interrupted_by_a_power_cut_is_logged_and_counted_once(
    running: Callable[..., subprocess.Popen[bytes]], listener: Listener, tmp_path: Path
) -> None:
    before = Ledger(tmp_path / "state", "bench", Clock())
    before.intend("a", "glass", "bottle").result(20)
    assert before.close(20)
    log = running().stderr
    assert log is not None
    lines = list(itertools.takewhile(lambda line: ": started" not in line, iter(lambda: log.readline().decode(), "")))
    assert [line.partition("event 1: ")[2] for line in lines if "on its way" in line] == ["bottle on its way to glass: restart\n"]
    seen = listener.wait_for(lambda seen: {"sortbin/bench/state", "sortbin/bench/journal"} <= set(seen))
    assert json.loads(seen["sortbin/bench/state"])["totals"]["glass"]["interrupted"] == 1
    assert counted(listener.all_of("sortbin/bench/journal"))["glass interrupted"] == 1


def test_a_taught_head_that_cannot_be_used_is_a_remark(running: Callable[..., subprocess.Popen[bytes]], listener: Listener, tmp_path: Path) -> None:
    (tmp_path / "state/taught").mkdir(parents=True)
    (tmp_path / "state/taught/0001.npz").write_bytes(b"no teaching")
    running()
    info = json.loads(listener.wait_for(lambda seen: "sortbin/bench/info" in seen)["sortbin/bench/info"])
    assert info["taught"] is None
    assert [remark.partition(":")[0] for remark in info["remarks"]] == ["what was taught does not count"]


def test_the_broker_publishes_offline_for_a_killed_daemon(running: Callable[..., subprocess.Popen[bytes]], listener: Listener) -> None:
    process = running()
    listener.wait_for(lambda seen: seen.get("sortbin/bench/availability") == b"online")
    process.kill()
    listener.wait_for(lambda seen: seen["sortbin/bench/availability"] == b"offline")


def test_systemd_gets_ready_watchdog_and_stopping(running: Callable[..., subprocess.Popen[bytes]], tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(60.0)
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / restart_backoff.FILE).write_text("3\n")
        process = running(NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="3000000", RUNTIME_DIRECTORY=str(tmp_path / "run"))
        heard: list[bytes] = []
        while heard.count(b"WATCHDOG=1") < 3:
            heard.append(manager.recv(4096))
        process.send_signal(signal.SIGTERM)
        while heard[-1] != b"STOPPING=1":
            heard.append(manager.recv(4096))
        assert process.wait(10) == 0
    assert heard.count(b"READY=1") == 1
    assert not (tmp_path / "run" / restart_backoff.FILE).exists(), "the count of refused starts is reset"
    assert any(message.startswith(b"STATUS=ready") for message in heard)


@pytest.mark.slow
def test_the_cpu_sorts_the_item_after_an_edge_tpu_fails(
    running: Callable[..., subprocess.Popen[bytes]], listener: Listener, tiny_copy: Bundle, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    shutil.copyfile(tiny_copy.folder / MODEL_FILE, tiny_copy.folder / EDGETPU_FILE)
    compiled = write_bundle(tiny_copy.folder, tiny_copy.info)
    invoke = "static int invoke(struct context *context, struct node *node) {"
    once = answering(compiled.info.known_answer.logits).replace(invoke, f"static int asked;\n{invoke}\n  if (asked++) return 1;")
    (tmp_path / "lib").mkdir()
    library(tmp_path / "lib", once)
    config = tmp_path / "sortbin.toml"
    config.write_text(config.read_text().replace(f'"{tiny_bundle.folder}"', f'"{compiled.folder}"\nedgetpu = true'))
    running(LD_LIBRARY_PATH=str(tmp_path / "lib"))
    newest = listener.wait_for(lambda seen: json.loads(seen.get("sortbin/bench/state", b"{}")).get("last_item") is not None)
    assert json.loads(newest["sortbin/bench/state"])["last_item"]["bin"] == "glass"
    health, info = json.loads(newest["sortbin/bench/health"]), json.loads(newest["sortbin/bench/info"])
    assert health["backend"] == info["hardware"]["runtime"] and not health["backend"].endswith(" edgetpu")
    assert "failed on a picture" in health["degraded"]
    told = [decode(event) for event in listener.all_of("sortbin/bench/journal")]
    assert [event.runtime.split()[-1] for event in told if isinstance(event, Started)] == ["edgetpu"]
    assert [event.fault for event in told if isinstance(event, Fault | Cleared)] == ["classifier"] * 2


FAILING_RUNTIME = """
import ai_edge_litert.interpreter as package
class Failing(package.Interpreter):
    invoked = 0
    def invoke(self):
        self.invoked += 1
        if self.invoked > 1:
            raise RuntimeError("failed to invoke")
        super().invoke()
package.Interpreter = Failing
"""


@pytest.mark.slow
def test_an_item_is_still_seen_after_a_crash_of_the_runtime(
    running: Callable[..., subprocess.Popen[bytes]], listener: Listener, tmp_path: Path, painted: Callable[..., Pixels]
) -> None:
    (tmp_path / "sick").mkdir()
    (tmp_path / "sick" / "sitecustomize.py").write_text(FAILING_RUNTIME)
    sick = running(PYTHONPATH=str(tmp_path / "sick"))
    assert sick.wait(60) == 1
    assert sick.stderr is not None
    assert sick.stderr.read().count(b"Traceback") == 0
    state = tmp_path / "state"
    assert [event.fault for event in events_in(state) if isinstance(event, Fault)] == ["classifier"]
    with_item = painted("", 60, 80).copy()
    with_item[15:45, 20:60] = painted("glass", 30, 40)
    for number in range(3):
        cv2.imwrite(str(tmp_path / "pictures" / f"{number}.png"), cv2.cvtColor(with_item, cv2.COLOR_RGB2BGR))
    running()
    newest = listener.wait_for(lambda seen: json.loads(seen.get("sortbin/bench/state", b"{}")).get("last_item") is not None)
    assert json.loads(newest["sortbin/bench/state"])["last_item"]["label"] == "glass"


def events_in(state: Path) -> list[Event]:
    return [decode(payload) for _, payload in read_events(state)]


def test_a_settings_mistake_ends_the_service_with_one_line(tmp_path: Path) -> None:
    file = tmp_path / "sortbin.toml"
    file.write_text("[device]\nid = 7\n", encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, "-m", "device.cli", "run", "--config", str(file)], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 2
    assert ended.stderr == f"sortbin run: {file}: device.id: expected text, found a whole number\n"
