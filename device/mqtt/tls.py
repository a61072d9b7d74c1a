"""TLS for the connection to the broker."""

import ssl

from device.mqtt import MqttError
from device.mqtt.connection_errors import reason_of
from device.mqtt.settings import TlsSettings


def tls_context(tls: TlsSettings, handshake_s: float) -> ssl.SSLContext:
    """A context that checks the broker's certificate, with a time limit for the handshake. Raises MqttError for files that cannot be used."""

    class HandshakeInTime(ssl.SSLSocket):
        """paho limits the handshake to the keep-alive, which may be an hour."""

        def do_handshake(self, block: bool = False) -> None:
            self.settimeout(handshake_s)
            super().do_handshake(block)

    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
    except OSError as error:
        raise MqttError(f"mqtt.tls.ca_file {tls.ca_file}: expected a readable PEM file of certificates: {reason_of(error)}") from error
    context.sslsocket_class = HandshakeInTime
    # Since Python 3.13 the default refuses authorities without some extensions. Certificates made by hand for a broker at home often lack them.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if tls.cert_file is not None:
        try:
            context.load_cert_chain(tls.cert_file, tls.key_file, password="")
        except OSError as error:
            files = f"mqtt.tls.cert_file {tls.cert_file}, key_file {tls.key_file}"
            raise MqttError(f"{files}: expected a certificate and its key in PEM, without a passphrase: {reason_of(error)}") from error
    return context
