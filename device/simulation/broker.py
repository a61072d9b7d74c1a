"""An MQTT broker inside the process, for the demo. It stores nothing; a real bin needs a real broker."""

import asyncio
import contextlib
import logging
import socket
import threading
from concurrent.futures import Future

from device.common.errors import SortbinError

START_S = 10.0
STOP_S = 3.0


class BrokerError(SortbinError, RuntimeError):
    """The embedded broker cannot start. The message says why."""


class BrokerMissing(BrokerError):
    """amqtt is not installed: it belongs to the extra `demo`."""


class EmbeddedBroker:
    """An amqtt broker on the loopback interface without passwords, in a thread of its own. The constructor returns when it is ready on `port`.

    port: 0 chooses a free one. Raises BrokerMissing when amqtt is not installed, BrokerError when the port is in use or the broker is not ready
    within START_S seconds.
    """

    def __init__(self, port: int = 0) -> None:
        self.port = port or _free_port()
        self._stop = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ready: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name="broker", daemon=True)
        self._thread.start()
        try:
            self._ready.result(START_S)
        except TimeoutError:
            raise BrokerError(f"the embedded broker was not ready within {START_S:g} s") from None

    def stop(self) -> None:
        """End all connections and the thread, within about STOP_S seconds. Any number of calls; never raises."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(STOP_S)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BrokerError as error:
            self._ready.set_exception(error)

    async def _serve(self) -> None:
        try:
            from amqtt.broker import Broker
            from amqtt.errors import AMQTTError
            from amqtt.errors import BrokerError as RefusedError
        except ImportError as error:
            raise BrokerMissing('the embedded broker needs amqtt: pip install "sortbin[demo]", or name a broker of your own') from error
        for name in ("amqtt", "transitions", "asyncio"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        self._loop = asyncio.get_running_loop()
        broker = Broker(
            {
                "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{self.port}"}},
                "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
            }
        )
        try:
            await broker.start()
        except RefusedError as error:
            raise BrokerError(f"the embedded broker cannot listen on 127.0.0.1:{self.port}: is the port taken?") from error
        self._ready.set_result(None)
        await self._stop.wait()
        with contextlib.suppress(TimeoutError, AMQTTError, RefusedError):
            await asyncio.wait_for(broker.shutdown(), STOP_S / 2)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
