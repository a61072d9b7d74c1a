"""`config/fleet`: certificates and the broker's rights with a real Mosquitto, the SQL of schema and dashboards on a real PostgreSQL."""

import contextlib
import itertools
import json
import os
import re
import shutil
import socket
import stat
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest

from device.common.clock import Clock
from device.events import Fault
from device.ledger.ledger import Ledger
from device.mqtt.probe import may_publish
from device.mqtt.reconnecting_link import Link
from device.mqtt.settings import MqttSettings, TlsSettings
from device.policy.rules import default_rules, read_rules
from device.simulation.fleet_bin import BinPlan, FleetBin
from device.simulation.fleet_payloads import FleetModel
from device.vision.inference.bundle import default_bundle, read_bundle

WAIT_S = 20.0
FLEET = Path(__file__).parents[1] / "config" / "fleet"
MOSQUITTO = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name))


def run(folder: Path, script: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([f"./{script}", *arguments], cwd=folder, capture_output=True, text=True, timeout=60)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of config/fleet with certificates and passwords."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("fleet") / "fleet"
    shutil.copytree(FLEET, folder, ignore=shutil.ignore_patterns("secrets", "certificates"))
    as_documented = ["make-certificates", "server", "fleet.example", "192.0.2.10"]
    for script, *arguments in (as_documented, ["make-certificates", "bin", "bin1"], ["make-passwords"]):
        done = run(folder, script, *arguments)
        assert done.returncode == 0, done.stderr
    for name in ("bin1", "bin2"):
        assert run(folder, "add-login", name).returncode == 0
    return folder


def test_keys_and_passwords_are_for_their_owner_alone_and_not_replaced(fleet: Path) -> None:
    kept = [*fleet.glob("certificates/*.key"), *fleet.glob("secrets/*")]
    assert len(kept) > 8
    assert {stat.S_IMODE(file.stat().st_mode) for file in kept} == {0o600}
    before = {file: file.read_bytes() for file in kept}
    for script, *arguments in (["make-certificates", "bin", "bin1"], ["make-certificates", "server", "x"], ["make-passwords"], ["add-login", "bin1"]):
        done = run(fleet, script, *arguments)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert {file: file.read_bytes() for file in kept} == before


def test_certificates_are_signed_for_their_use(fleet: Path) -> None:
    for name, purpose in (("server", "sslserver"), ("bin1", "sslclient")):
        command = ["openssl", "verify", "-CAfile", "certificates/ca.pem", "-purpose", purpose, f"certificates/{name}.pem"]
        assert subprocess.run(command, cwd=fleet, capture_output=True).returncode == 0


def test_the_servers_certificate_is_valid_wherever_its_clients_reach_it(fleet: Path) -> None:
    from_telegraf = re.findall(r"ssl://([a-z]+):8883", (fleet / "telegraf/telegraf.conf").read_text())
    assert from_telegraf == ["mosquitto"]
    names = [("hostname", name) for name in ("fleet.example", "localhost", *from_telegraf)]
    for what, name in (*names, ("ip", "192.0.2.10"), ("ip", "127.0.0.1")):
        command = ["openssl", "verify", "-CAfile", "certificates/ca.pem", f"-verify_{what}", name, "certificates/server.pem"]
        assert subprocess.run(command, cwd=fleet, capture_output=True).returncode == 0, name


@pytest.fixture(scope="module")
def broker(fleet: Path) -> Iterator[int]:
    """The port of a Mosquitto with the fleet's own settings, on this computer."""
    if MOSQUITTO is None:
        pytest.skip("mosquitto is not installed")
    port = free_port()
    text = (fleet / "mosquitto/mosquitto.conf").read_text().replace("listener 8883", f"listener {port} 127.0.0.1")
    places = {"passwords": "secrets/mosquitto-passwords", "acl": "mosquitto/acl"}
    for name in ("server.pem", "server.key", "ca.pem", *places):
        text = text.replace(f"/mosquitto/config/{name}", str(fleet / places.get(name, f"certificates/{name}")))
    (fleet / "data").mkdir()
    text = text.replace("/mosquitto/data/", f"{fleet / 'data'}/") + ("user root\n" if os.geteuid() == 0 else "")
    (fleet / "mosquitto/acl").chmod(0o600)
    (fleet / "test.conf").write_text(text)
    process = subprocess.Popen([MOSQUITTO, "-c", str(fleet / "test.conf")], stderr=subprocess.DEVNULL)
    until_s = time.monotonic() + WAIT_S
    while socket.socket().connect_ex(("127.0.0.1", port)):
        assert time.monotonic() < until_s and process.poll() is None
        time.sleep(0.05)
    yield port
    process.kill()
    process.wait()


def settings(fleet: Path, port: int, user: str) -> MqttSettings:
    tls = TlsSettings(ca_file=str(fleet / "certificates/ca.pem"))
    return MqttSettings(host="localhost", port=port, username=user, password_file=str(fleet / f"secrets/mqtt-{user}"), tls=tls)


def test_a_bin_connects_over_tls_and_its_events_arrive(fleet: Path, broker: int, tmp_path: Path) -> None:
    heard: list[str] = []
    subscribed, arrived = threading.Event(), threading.Event()
    client = paho.Client(paho.CallbackAPIVersion.VERSION2)
    client.username_pw_set("telegraf", (fleet / "secrets/mqtt-telegraf").read_text().strip())
    client.tls_set(str(fleet / "certificates/ca.pem"))
    client.on_subscribe = lambda *_: subscribed.set()
    client.on_message = lambda _client, _data, message: (heard.append(message.topic), "journal" in message.topic and arrived.set())
    client.connect("localhost", broker)
    client.loop_start()
    client.subscribe("sortbin/#", 1)
    assert subscribed.wait(WAIT_S)
    ledger = Ledger(tmp_path / "state", "bin1", Clock())
    ledger.record(Fault(fault="camera", message="no frame"))
    link = Link(settings(fleet, broker, "bin1"), "bin1", ledger)
    assert arrived.wait(WAIT_S)
    link.stop(WAIT_S)
    ledger.close(WAIT_S)
    client.disconnect()
    client.loop_stop()
    assert {topic.rpartition("/")[2] for topic in heard} >= {"availability", "journal"}


@pytest.mark.parametrize(
    ("user", "topic", "allowed"),
    [
        ("bin1", "sortbin/bin1/journal", True),
        ("bin1", "sortbin/bin1/bin/paper", True),
        ("bin1", "sortbin/bin2/journal", False),
        ("bin1", "sortbin/bin2/cmd/pause", False),
        ("operator", "sortbin/bin1/cmd/pause", True),
        ("operator", "sortbin/bin1/journal", False),
        ("telegraf", "sortbin/bin1/journal", False),
        ("simulator", "sortbin/sim-00001/journal", True),
    ],
)
def test_each_login_may_publish_its_own_topics_alone(fleet: Path, broker: int, user: str, topic: str, allowed: bool) -> None:
    assert may_publish(settings(fleet, broker, user), topic, WAIT_S) is allowed


class Postgres:
    """A PostgreSQL of its own in a folder."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self._programs, self._data, self.port = programs, folder / "data", free_port()
        self._folder = folder
        self._as = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        if self._as:
            top = Path(tempfile.gettempdir())
            for each in (folder, *itertools.takewhile(lambda parent: parent != top, folder.parents)):
                each.chmod(0o755)
            shutil.chown(folder, "postgres")
        self._call("initdb", "-D", str(self._data), "-U", "postgres", "-A", "trust", "--no-sync", "--no-locale", "-E", "UTF8")
        options = f"-c listen_addresses= -c unix_socket_directories={folder} -c fsync=off -p {self.port}"
        self._call("pg_ctl", "-D", str(self._data), "-o", options, "-l", str(folder / "log"), "-w", "start")

    def _call(self, program: str, *arguments: str) -> None:
        done = subprocess.run([*self._as, str(self._programs / program), *arguments], capture_output=True, text=True, timeout=60, cwd="/")
        assert done.returncode == 0, done.stdout + done.stderr

    def stop(self) -> None:
        with contextlib.suppress(AssertionError):
            self._call("pg_ctl", "-D", str(self._data), "-m", "immediate", "stop")

    def query(self, sql: str) -> list[list[str]]:
        """The rows of the last statement. Any mistake in the SQL fails the test."""
        command = [str(self._programs / "psql"), "-h", str(self._folder), "-p", str(self.port), "-U", "postgres", "-v", "ON_ERROR_STOP=1", "-qtAF\t"]
        done = subprocess.run(command, input=sql, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return [line.split("\t") for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    if not POSTGRES or (os.geteuid() == 0 and shutil.which("runuser") is None):
        pytest.skip("PostgreSQL is not installed")
    made = Postgres(tmp_path_factory.mktemp("postgres"), POSTGRES[-1])
    try:
        for name in ("schema", "timescale"):
            made.query((FLEET / f"postgres/{name}.sql").read_text())
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def published(database: Postgres) -> dict[str, list[tuple[str, bytes]]]:
    """What four simulated bins publish in half an hour, inserted as Telegraf does, every tenth message twice and some that are no JSON."""
    bundle = read_bundle(default_bundle()).info
    model = FleetModel(bundle, read_rules(default_rules(), bundle.labels))
    published: dict[str, list[tuple[str, bytes]]] = {}
    rows = ["2026-01-05T10:00:00Z\tsortbin/x/journal\tno json", '2026-01-05T10:00:00Z\tsortbin/x/journal\t{"seq":"a"}']
    for number in range(1, 5):
        device = f"sim-{number:05d}"
        plan = BinPlan(device, f"3 {number}", 0.5, 1767603600.0)
        for step in FleetBin(plan, model).live():
            if step.at_s > 1800:
                break
            for message in step.messages:
                published.setdefault(device, []).append((message.name, message.payload))
                value = message.payload.decode().replace("\\", "\\\\")
                row = f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(1767603600 + step.at_s))}\tsortbin/{device}/{message.name}\t{value}"
                rows += [row, row] if len(rows) % 10 == 0 else [row]
    database.query("COPY message FROM STDIN;\n" + "\n".join(rows) + "\n\\.\n")
    return published


def test_totals_agree_with_what_was_published(database: Postgres, published: dict[str, list[tuple[str, bytes]]]) -> None:
    counted = Counter()
    for device, messages in published.items():
        for name, payload in messages:
            event = json.loads(payload) if name == "journal" else {}
            if event.get("type") in ("item_sorted", "item_rejected", "item_interrupted", "jam"):
                counted[device, event["bin"], event["type"]] += 1
    kinds = ("item_sorted", "item_rejected", "item_interrupted", "jam")
    told = {
        (device, bin_): tuple(map(int, numbers))
        for device, bin_, *numbers in database.query("SELECT device, bin, sorted, rejected, interrupted, jams FROM totals")
    }
    assert told == {(device, bin_): tuple(counted[device, bin_, kind] for kind in kinds) for device, bin_, _ in counted}
    assert sum(map(sum, told.values())) > 1000
    assert database.query("SELECT count(*) FROM message") == [["0"]]


def test_the_views_tell_the_newest_state_and_the_worst_first(database: Postgres, published: dict[str, list[tuple[str, bytes]]]) -> None:
    rows = database.query("SELECT device, availability, badness FROM fleet ORDER BY badness DESC, device")
    assert {device for device, *_ in rows} == set(published)
    newest = {device: dict(messages) for device, messages in published.items()}
    assert {device: told for device, told, _ in rows} == {device: by_name["availability"].decode() for device, by_name in newest.items()}
    for device, bin_, items in database.query("SELECT device, bin, items FROM bins"):
        assert json.loads(newest[device][f"bin/{bin_}"])["items"] == int(items)


def dashboards() -> Iterator[tuple[str, str]]:
    for file in sorted((FLEET / "grafana/dashboards").glob("*.json")):
        board = json.loads(file.read_text())
        yield from ((f"{file.stem}: {variable['name']}", variable["query"]) for variable in board["templating"]["list"])
        yield from ((f"{file.stem}: {panel['title']}", target["rawSql"]) for panel in board["panels"] for target in panel["targets"])


@pytest.mark.parametrize(("title", "sql"), list(dashboards()), ids=lambda each: each if ": " in each else "")
def test_each_query_of_the_dashboards_gives_rows(title: str, sql: str, database: Postgres, published: dict[str, Any]) -> None:
    sql = re.sub(r"\$__timeFilter\((\w+)\)", r"\1 BETWEEN '2026-01-05' AND '2026-01-06'", sql)
    sql = re.sub(r"\$__timeGroupAlias\((\w+), *\$__interval\)", r"date_bin('1 minute', \1, '2000-01-01') AS time", sql)
    for_all = "sim-0000"
    rows = [row for number in range(1, 5) for row in database.query(sql.replace("$device", f"{for_all}{number}"))]
    assert "$" not in sql.replace("$device", "")
    assert rows, title


def test_bins_may_what_the_plain_example_lets_them() -> None:
    plain, own = ((FLEET / name).read_text().splitlines() for name in ("../mosquitto/acl", "mosquitto/acl"))
    assert [line for line in own if line.startswith("pattern")] == [line for line in plain if line.startswith("pattern")]


def test_every_port_is_open_on_this_computer_alone_and_images_are_pinned() -> None:
    text = (FLEET / "compose.yaml").read_text()
    ports = re.findall(r'ports: \["(.+)"\]', text)
    assert ports and all(port.startswith(("127.0.0.1:", "${FLEET_ADDRESS:-127.0.0.1}:")) for port in ports)
    images = re.findall(r"image: (.+)", text)
    assert len(images) == 4 and all(re.fullmatch(r"[a-z/-]+:\d+\.\d+\.\d+(-\w+)?", image) for image in images)
    mounted = re.findall(r"- \./([\w./-]+):", text) + re.findall(r"file: \./([\w./-]+)", text) + re.findall(r"env_file: \[\./([\w./-]+)\]", text)
    made = {name for name in mounted if name.startswith(("secrets/", "certificates/"))}
    assert all((FLEET / name).exists() for name in set(mounted) - made)
    assert text.count("healthcheck:") == 4


def test_every_secret_of_the_compose_file_is_made_by_the_script(fleet: Path) -> None:
    text = (fleet / "compose.yaml").read_text()
    for name in set(re.findall(r"\./((?:secrets|certificates)/[\w./-]+)", text)):
        assert (fleet / name).stat().st_size > 0, name
