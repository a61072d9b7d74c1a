"""A broker that was named on the command line, as settings."""

import contextlib
import tempfile
import urllib.parse
from collections.abc import Iterator

from device.common.errors import UsageError
from device.mqtt.settings import MqttSettings, TlsSettings

_EXPECTED = "expected mqtt://host, mqtt://user:password@host:port, or mqtts:// for TLS"


@contextlib.contextmanager
def broker_settings(url: str, ca_file: str | None = None) -> Iterator[MqttSettings]:
    """Settings for the broker at `url` during the block. ca_file: the authority of its certificate, for mqtts. Raises UsageError."""
    try:
        parsed = urllib.parse.urlsplit(url)
        host, port = parsed.hostname, parsed.port
    except ValueError as error:
        raise UsageError(f"--broker {url}: {_EXPECTED}: {error}") from error
    if parsed.scheme not in ("mqtt", "mqtts") or not host or (parsed.password and not parsed.username):
        raise UsageError(f"--broker {url}: {_EXPECTED}")
    secure = parsed.scheme == "mqtts"
    with tempfile.NamedTemporaryFile("w", prefix="sortbin-", encoding="utf-8") as secret:
        secret.write(urllib.parse.unquote(parsed.password or ""))
        secret.flush()
        try:
            settings = MqttSettings(
                host=host,
                port=port or (8883 if secure else 1883),
                username=urllib.parse.unquote(parsed.username) if parsed.username else None,
                password_file=secret.name if parsed.password else None,
                tls=TlsSettings(ca_file=ca_file) if secure else None,
            )
        except ValueError as error:
            raise UsageError(f"--broker {url}: {_EXPECTED}: {error}") from error
        yield settings
