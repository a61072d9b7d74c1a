"""The page of a review over HTTP, for browsers on this machine alone.

It listens on the loopback address. Everything lies below a random path element that only the printed address tells, so no other page
and no other user can ask for a picture or decide. A `Host` that is no name of the loopback is refused, since a foreign name may be made
to resolve to it. Pictures are asked for by their hash, never by a path.
"""

import hmac
import http.server
import re
import secrets
import sys
import threading
from http import HTTPStatus
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec

from device import __version__
from device.common.errors import SortbinError
from training.review.dataset import DatasetError
from training.review.journal import JournalError
from training.review.review import Outdated, Review, ReviewError

ADDRESS = "127.0.0.1"
LOOPBACK_NAMES = ("127.0.0.1", "localhost")
LONGEST_REQUEST_BYTES = 4096
IDLE_S = 30.0
"""longest time a connection may keep its thread waiting"""

_PAGE = {"": "index.html", "review.css": "review.css", "review.js": "review.js"}
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
    ".bmp": "image/bmp",
}
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class _Decide(msgspec.Struct, forbid_unknown_fields=True):
    picture: str
    label: str | None
    rows: int


class _Undo(msgspec.Struct, forbid_unknown_fields=True):
    rows: int


class _Done(msgspec.Struct, forbid_unknown_fields=True):
    pass


class ReviewServer:
    """Serves one review from its construction until `close`. url is the address to open; done is set when the person says so."""

    def __init__(self, review: Review, port: int = 0) -> None:
        """Listen. port 0 takes a free one. Raises ReviewError when the port cannot be had."""
        self.done = threading.Event()
        token = secrets.token_urlsafe(16)
        page = {path: (resources.files("training.review") / "page" / name).read_bytes() for path, name in _PAGE.items()}
        try:
            self._server = _Server((ADDRESS, port), _Handler)
        except (OSError, OverflowError) as error:
            reason = error.strerror if isinstance(error, OSError) else "expected a port from 0 to 65535"
            raise ReviewError(f"--port {port}: {reason}") from error
        self._server.review, self._server.token, self._server.page = review, token, page
        self._server.done, self._server.closing = self.done, threading.Event()
        self.url = f"http://{ADDRESS}:{self._server.server_port}/{token}/"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, name="review", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening, and refuse what still comes over connections that are open. A request that is being answered goes on."""
        self._server.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=IDLE_S)


class _Server(http.server.ThreadingHTTPServer):
    review: Review
    token: str
    page: dict[str, bytes]
    done: threading.Event
    closing: threading.Event

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away in the middle of an answer is no error."""
        if not isinstance(sys.exception(), (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = IDLE_S
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_GET(self) -> None:
        """The page, its state, or a picture."""
        path = self._allowed_path()
        if path is None:
            return
        if path in _PAGE:
            self._send(HTTPStatus.OK, self.server.page[path], _TYPES[Path(_PAGE[path]).suffix])
        elif path == "state":
            self._send_json(HTTPStatus.OK, self.server.review.state())
        elif path.startswith("picture/"):
            self._send_picture(path.removeprefix("picture/"))
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "nothing here")

    def do_POST(self) -> None:
        """A decision, an undo, or that the person is done."""
        path = self._allowed_path()
        if path is None:
            return
        wanted: Any = {"decide": _Decide, "undo": _Undo, "done": _Done}.get(path)
        if wanted is None:
            self._refuse(HTTPStatus.NOT_FOUND, "nothing here")
            return
        asked = self._read_body(wanted)
        if asked is None:
            return
        try:
            self._send_json(HTTPStatus.OK, self._follow(asked))
        except Outdated as error:
            self._refuse(HTTPStatus.CONFLICT, str(error))
        except (DatasetError, JournalError) as error:
            self._refuse(HTTPStatus.INSUFFICIENT_STORAGE, str(error))
        except SortbinError as error:
            self._refuse(HTTPStatus.UNPROCESSABLE_ENTITY, str(error))
        if isinstance(asked, _Done):
            self.wfile.flush()
            self.server.done.set()

    def version_string(self) -> str:
        """Who serves."""
        return f"sortbin/{__version__}"

    def log_message(self, *_: Any) -> None:
        """The terminal is for the person, not for requests."""

    def _follow(self, asked: "_Decide | _Undo | _Done") -> Any:
        review = self.server.review
        match asked:
            case _Decide():
                return review.decide(asked.picture, asked.label, asked.rows)
            case _Undo():
                return review.undo(asked.rows)
            case _Done():
                return {"summary": review.summary()}

    def _allowed_path(self) -> str | None:
        """What is asked for below the token; None when it was refused."""
        host = self.headers.get("Host", "")
        if re.sub(r":\d+$", "", host) not in LOOPBACK_NAMES:
            self._refuse(HTTPStatus.FORBIDDEN, "this page is for browsers on its own machine: open the address that was printed")
            return None
        origin = self.headers.get("Origin")
        if origin not in (None, f"http://{host}"):
            self._refuse(HTTPStatus.FORBIDDEN, "another page may not ask")
            return None
        token, slash, path = self.path.removeprefix("/").partition("/")
        if not slash or not hmac.compare_digest(token.encode(), self.server.token.encode()):
            self._refuse(HTTPStatus.FORBIDDEN, "open the whole address that `training review` printed")
            return None
        if self.server.closing.is_set():
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "the review has ended; start `training review` again to go on")
            return None
        return path

    def _read_body(self, wanted: Any) -> Any:
        length = self.headers.get("Content-Length", "")
        if self.headers.get_content_type() != "application/json" or not length.isascii() or not length.isdigit():
            self._refuse(HTTPStatus.BAD_REQUEST, "expected application/json with its length")
            return None
        if int(length) > LONGEST_REQUEST_BYTES:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"expected at most {LONGEST_REQUEST_BYTES} bytes")
            return None
        try:
            return msgspec.json.decode(self.rfile.read(int(length)), type=wanted)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            self._refuse(HTTPStatus.BAD_REQUEST, str(error))
            return None

    def _send_picture(self, picture: str) -> None:
        file = self.server.review.picture(picture)
        try:
            data = file.read_bytes() if file else None
        except OSError:
            data = None
        if file is None or data is None:
            self._refuse(HTTPStatus.NOT_FOUND, "no such picture")
        else:
            self._send(HTTPStatus.OK, data, _TYPES[file.suffix.lower()])

    def _send_json(self, status: HTTPStatus, value: Any) -> None:
        self._send(status, msgspec.json.encode(value), "application/json")

    def _refuse(self, status: HTTPStatus, message: str) -> None:
        """Say why, and end the connection: what the client sent besides was not read."""
        self.close_connection = True
        self._send_json(status, {"message": message})

    def _send(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
