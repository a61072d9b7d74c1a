"""The `[mqtt]` table of the settings file."""

import contextlib
import ipaddress
import re
import urllib.parse
from typing import Annotated, Literal

import msgspec

DeviceId = Annotated[str, msgspec.Meta(pattern="^[a-z0-9_-]+$", max_length=64, description="lower-case letters, digits, _ and -")]
"""name of a device in topics and events"""
Name = Annotated[str, msgspec.Meta(min_length=1)]


class TlsSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[mqtt.tls]`: where the table is there, even empty, the connection is encrypted and the broker's certificate is checked."""

    ca_file: Name | None = None
    """PEM file of the authority that signed the broker's certificate; default: the authorities that the system trusts"""
    cert_file: Name | None = None
    """PEM file of this device's own certificate, for brokers that ask for one"""
    key_file: Name | None = None
    """PEM file of the private key that belongs to `cert_file`, without a passphrase"""

    def __post_init__(self) -> None:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("expected cert_file and key_file together, or neither")


class MqttSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[mqtt]`: which broker to publish to, and how to log in."""

    host: Name = "localhost"
    """name or address of the broker"""
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 1883
    """1883 is usual without TLS, 8883 with it"""
    username: Name | None = None
    """name to log in with; without it, anonymous"""
    password_file: Name | None = None
    """file that holds the password and nothing else; read at every connection, so a changed password needs no restart"""
    tls: TlsSettings | None = None
    """see `[mqtt.tls]`"""
    keepalive_s: Annotated[int, msgspec.Meta(ge=5, le=3600)] = 30
    """after one and a half times as long without a word the broker says that this device is offline"""
    version: Literal[3, 5] = 5
    """5: MQTT 5, and 3.1.1 to a broker that does not know it; 3: MQTT 3.1.1 at once"""
    base: Annotated[
        str,
        msgspec.Meta(
            pattern=r"^[^/+#$\x00][^/+#\x00]*(/[^/+#\x00]+)*$",
            max_length=200,
            description="names with / between them, without + and #, not beginning with $",
        ),
    ] = "sortbin"
    """first part of every topic; may have several levels, as in `site/floor2`"""

    commands: bool = False
    """listen to commands; without it the bin subscribes to nothing"""
    images: bool = False
    """publish a picture of what the camera sees when the command `capture` asks for it"""

    def __post_init__(self) -> None:
        _require_host_alone(self.host)
        if self.password_file is not None and self.username is None:
            raise ValueError("expected username beside password_file")


def _require_host_alone(host: str) -> None:
    """Raises ValueError for a URL, for brackets and for a port."""
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(host)
        return
    if re.fullmatch(r"[^\s/:@\[\]]+", host):
        return
    host_alone = ""
    with contextlib.suppress(ValueError):
        host_alone = urllib.parse.urlsplit(host if "://" in host else f"//{host}").hostname or ""
    expected = "the name or address of a broker alone, without mqtt://, brackets or a port, which has keys of its own"
    as_in = f", as {host_alone}" if host_alone and host_alone != host else ""
    raise ValueError(f"host: expected {expected}{as_in}; found {host}")
