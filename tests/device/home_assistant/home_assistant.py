"""A Home Assistant of its own on the loopback interface, without its set-up dialogue: its owner, his token and one broker are written beforehand."""

import base64
import hashlib
import hmac
import json
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

CONFIGURATION = """
homeassistant:
  name: Home
  time_zone: UTC
http:
  server_host: 127.0.0.1
  server_port: {port}
api:
config:
{more}
logger:
  default: warning
"""
START_S = 240.0
USER, REFRESH, KEY = "1" * 32, "2" * 32, "3" * 64


class HomeAssistant:
    """program: the executable `hass`. port: of its web server. broker: port of the broker. more: further lines of configuration.yaml."""

    def __init__(self, program: str, folder: Path, port: int, broker: int, more: str = "") -> None:
        self.folder, self.url = folder, f"http://127.0.0.1:{port}"
        (folder / ".storage").mkdir(parents=True, exist_ok=True)
        (folder / "configuration.yaml").write_text(CONFIGURATION.format(port=port, more=more))
        self._store("core.config_entries", 1, {"entries": [_entry(broker)]})
        self._store("auth", 1, _owner())
        self._store("onboarding", 4, {"done": ["user", "core_config", "analytics", "integration"]})
        self.token = _token()
        self.log = folder / "hass.log"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen([program, "-c", str(folder)], stdout=log, stderr=subprocess.STDOUT)

    def wait_for(self, what: Callable[[dict[str, Any]], Any], wait_s: float = START_S) -> dict[str, dict[str, Any]]:
        """Wait until its states satisfy `what`. Returns each state by its entity's id."""
        deadline_s = time.monotonic() + wait_s
        states: dict[str, dict[str, Any]] = {}
        while time.monotonic() < deadline_s and self._process.poll() is None:
            try:
                states = {each["entity_id"]: each for each in self.ask("/api/states")}
            except OSError:
                states = {}
            if states and what(states):
                return states
            time.sleep(0.5)
        raise AssertionError(f"{sorted(states)}\n{self.log.read_text(errors='replace')[-3000:]}")

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """The answer of its REST API, to a POST where there is a body."""
        return json.loads(self.ask_text(path, body))

    def ask_text(self, path: str, body: dict[str, Any] | None = None) -> str:
        """The same, where it is no JSON."""
        return self.ask_bytes(path, body).decode()

    def ask_bytes(self, path: str, body: dict[str, Any] | None = None) -> bytes:
        """The same, where it is no text."""
        head = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, None if body is None else json.dumps(body).encode(), head)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return bytes(answer.read())

    def warnings(self) -> list[str]:
        """Log lines of its MQTT integration."""
        return [line for line in self.log.read_text(errors="replace").splitlines() if "components.mqtt" in line or "components.sensor" in line]

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(30)

    def _store(self, key: str, version: int, data: dict[str, Any]) -> None:
        (self.folder / ".storage" / key).write_text(json.dumps({"version": version, "minor_version": 1, "key": key, "data": data}))


def _entry(broker: int) -> dict[str, Any]:
    data = {"broker": "127.0.0.1", "port": broker, "discovery": True}
    fixed = {
        "options": {},
        "pref_disable_new_entities": False,
        "pref_disable_polling": False,
        "source": "user",
        "unique_id": None,
        "disabled_by": None,
    }
    return {"entry_id": "a" * 32, "version": 1, "minor_version": 1, "domain": "mqtt", "title": "Mosquitto", "data": data, **fixed}


def _owner() -> dict[str, Any]:
    user = {"id": USER, "group_ids": ["system-admin"], "is_owner": True, "is_active": True, "name": "Owner"}
    token = {
        "id": REFRESH,
        "user_id": USER,
        "client_id": None,
        "client_name": "test",
        "client_icon": None,
        "token_type": "long_lived_access_token",
        "created_at": "2024-01-01T00:00:00+00:00",
        "access_token_expiration": 315_360_000.0,
        "token": "4" * 128,
        "jwt_key": KEY,
        "last_used_at": None,
        "last_used_ip": None,
        "credential_id": None,
        "version": "2024.3.3",
    }
    groups = [{"id": "system-admin", "name": "Administrators"}]
    return {"users": [user | {"system_generated": False, "local_only": False}], "groups": groups, "credentials": [], "refresh_tokens": [token]}


def _token() -> str:
    """A JSON Web Token of the owner (RFC 7519, HS256)."""
    now = int(time.time())
    parts = [{"alg": "HS256", "typ": "JWT"}, {"iss": REFRESH, "iat": now - 10, "exp": now + 10**8}]
    signed = b".".join(_base64url(json.dumps(part).encode()) for part in parts)
    return (signed + b"." + _base64url(hmac.new(KEY.encode(), signed, hashlib.sha256).digest())).decode()


def _base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
