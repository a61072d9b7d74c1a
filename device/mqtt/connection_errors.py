"""Why a connection to the broker failed, in one line that names the settings key to look at."""

import socket
import ssl
from datetime import UTC, datetime

from paho.mqtt.reasoncodes import ReasonCode

from device.mqtt.settings import MqttSettings

NOT_YET_VALID, EXPIRED = 9, 10
"""OpenSSL's codes for the dates of a certificate: X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED"""


def describe_connect_error(error: OSError | UnicodeError, settings: MqttSettings, wait_s: float) -> str:
    """Why no TCP or TLS connection came about. wait_s: the time-out."""
    broker = f"broker {settings.host}:{settings.port}"
    match error:
        case socket.gaierror() | UnicodeError():
            return f"{broker}: no such host: check mqtt.host and this device's network"
        case ssl.SSLCertVerificationError(verify_code=code) if code in (NOT_YET_VALID, EXPIRED):
            valid = "not valid yet" if code == NOT_YET_VALID else "no longer valid"
            now = f"by this device's clock, which says {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
            return f"{broker}: its certificate is {valid} {now}: check the clock (`timedatectl`), then the certificate's dates"
        case ssl.SSLCertVerificationError():
            untrusted = f"its certificate is not trusted ({error.verify_message})"
            return f"{broker}: {untrusted}: check mqtt.tls.ca_file, and that mqtt.host is a name in the certificate"
        case ssl.SSLError() | ConnectionResetError() if settings.tls is not None:
            return f"{broker}: TLS failed ({reason_of(error)}): does that port speak TLS? 8883 usually does; see mqtt.port and [mqtt.tls]"
        case ConnectionRefusedError():
            return f"{broker}: nothing listens there: is the broker running, and mqtt.port right?"
        case TimeoutError():
            tls = "" if settings.tls is None else ", that mqtt.port speaks TLS,"
            return f"{broker}: no answer within {wait_s:g} s: check mqtt.host{tls} and for a firewall in between"
        case _:
            return f"{broker}: {reason_of(error)}: check mqtt.host and this device's network"


def describe_refusal(answer: ReasonCode | None, lost: str | None, settings: MqttSettings, wait_s: float) -> str:
    """Why the broker did not accept the login. answer: its CONNACK, where one came; lost: why the connection ended, where it did."""
    broker = f"broker {settings.host}:{settings.port}"
    if answer is None and lost is not None and "no MQTT" in lost:
        return f"{lost}: is that an MQTT broker?"
    if answer is None and lost is None:
        return f"{broker}: connected, but no answer within {wait_s:g} s: is that an MQTT broker?"
    if answer is None and settings.tls is None:
        return f"{broker}: closed the connection instead of answering: does it ask for TLS there ([mqtt.tls])?"
    if answer is None:
        return f"{broker}: closed the connection instead of answering: does it ask for a certificate (mqtt.tls.cert_file)?"
    if str(answer) not in ("Bad user name or password", "Not authorized"):
        return f"{broker}: refused ({str(answer).lower()})"
    if settings.username is None:
        return f"{broker}: lets nobody in without a name: set mqtt.username and mqtt.password_file"
    or_topics = ", and that an ACL lets it write to its topics" if str(answer) == "Not authorized" else ""
    return f"{broker}: refused user name or password: check mqtt.username {settings.username!r} and what mqtt.password_file holds{or_topics}"


def reason_of(error: OSError | UnicodeError) -> str:
    """What an error says, without its number."""
    return str(getattr(error, "strerror", None) or error)
