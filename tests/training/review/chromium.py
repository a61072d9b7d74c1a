"""A headless Chromium, driven over its DevTools protocol."""

import contextlib
import json
import select
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from typing import Any

from websockets.sync.client import ClientConnection, connect

BINARIES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "headless=new",
    "no-sandbox",
    "disable-gpu",
    "disable-dev-shm-usage",
    "no-first-run",
    "disable-background-networking",
    "disable-component-update",
    "disable-sync",
    "remote-debugging-port=0",
)
PATIENCE_S = 30.0


def find_chromium() -> str | None:
    """The Chromium or Chrome on the PATH."""
    return next(filter(None, map(shutil.which, BINARIES)), None)


@contextlib.contextmanager
def started(binary: str) -> Iterator[ClientConnection]:
    """The DevTools socket of a new browser with an empty profile; both end with the block."""
    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profile:
        flags = [f"--{flag}" for flag in (*FLAGS, f"user-data-dir={profile}")]
        process = subprocess.Popen([binary, *flags, "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            with connect(_devtools(process), max_size=None) as socket:
                yield socket
        finally:
            process.terminate()
            process.wait(timeout=PATIENCE_S)


def _devtools(process: "subprocess.Popen[bytes]") -> str:
    """The address that Chromium says it listens on. What it says later is read and forgotten, so that it never blocks."""
    assert process.stderr is not None
    said = ""
    until_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < until_s:
        readable, _, _ = select.select([process.stderr], [], [], max(0.0, until_s - time.monotonic()))
        said += process.stderr.read1().decode(errors="replace") if readable else ""
        for line in said.splitlines(keepends=True):
            if line.startswith("DevTools listening on ") and line.endswith("\n"):
                threading.Thread(target=process.stderr.read, daemon=True).start()
                return line.split()[-1]
        assert process.poll() is None, said
    raise AssertionError(f"Chromium did not say where it listens: {said}")


class Browser:
    """A page in Chromium, driven over the DevTools protocol: real keys, taps and pixels."""

    def __init__(self, socket: ClientConnection) -> None:
        """Open a tab of its own."""
        self._socket, self._session, self._number, self._loads = socket, "", 0, 0
        self.errors: list[str] = []
        """exceptions that the page's script did not catch"""
        self._target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=self._target, flatten=True)["sessionId"]
        self.call("Runtime.enable")
        self.call("Page.enable")

    def close(self) -> None:
        """Close the tab."""
        self._session = ""
        self.call("Target.closeTarget", targetId=self._target)

    def call(self, method: str, **params: Any) -> Any:
        """One command of the protocol, and its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        self._socket.send(json.dumps(message | ({"sessionId": self._session} if self._session else {})))
        until_s = time.monotonic() + PATIENCE_S
        while True:
            answer = json.loads(self._socket.recv(timeout=max(0.0, until_s - time.monotonic())))
            self._note(answer)
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    def _note(self, message: Any) -> None:
        if message.get("method") == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(message["params"]))
        self._loads += message.get("method") == "Page.loadEventFired"

    def open(self, url: str, width: int = 1200, height: int = 760, touch: bool = False) -> None:
        """Load a page in a window of this size."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=touch)
        self.call("Emulation.setTouchEmulationEnabled", enabled=touch)
        self._load("Page.navigate", url=url)

    def reload(self) -> None:
        """Load the page again."""
        self._load("Page.reload")

    def _load(self, method: str, **params: Any) -> None:
        before = self._loads
        self.call(method, **params)
        until_s = time.monotonic() + PATIENCE_S
        while self._loads == before:
            self._note(json.loads(self._socket.recv(timeout=max(0.0, until_s - time.monotonic()))))
        self.wait_for("document.body.dataset.shown")

    def value(self, expression: str) -> Any:
        """What a JavaScript expression gives."""
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait_for(self, condition: str) -> None:
        """Wait until a JavaScript expression is true of the page."""
        script = f"""new Promise((resolve) => {{
            const until = performance.now() + {1000 * PATIENCE_S / 2};
            const look = () => ({condition}) ? resolve(true) : performance.now() > until ? resolve(false) : setTimeout(look, 15);
            look();
        }})"""
        assert self.value(script), f"never true: {condition}"

    def press(self, key: str, code: str = "", modifiers: int = 0) -> None:
        """Press and release a key, as the keyboard would."""
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        number = {"Enter": 13, "ArrowLeft": 37, "ArrowRight": 39, "Escape": 27, "Tab": 9, " ": 32}.get(key, ord(key.upper()[0]))
        said = {"key": key, "code": code, "modifiers": modifiers, "windowsVirtualKeyCode": number}
        self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **said)
        self.call("Input.dispatchKeyEvent", type="keyUp", **said)

    def repeat(self, key: str, times: int) -> None:
        """What a key that was pressed and is still held down sends; then it is let go."""
        said = {"key": key, "windowsVirtualKeyCode": ord(key.upper()[0])}
        for _ in range(times):
            self.call("Input.dispatchKeyEvent", type="keyDown", text=key, autoRepeat=True, **said)
        self.call("Input.dispatchKeyEvent", type="keyUp", **said)

    def type(self, text: str) -> None:
        """Enter text where the cursor is, as an input method does."""
        self.call("Input.insertText", text=text)

    def _middle(self, selector: str) -> dict[str, float]:
        box = self.value(f"(({selector}).getBoundingClientRect()).toJSON()")
        return {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}

    def tap(self, element: str) -> None:
        """Touch the middle of what a JavaScript expression gives."""
        self.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[self._middle(element)])
        self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def click(self, element: str) -> None:
        """Press and release the left mouse button over what a JavaScript expression gives."""
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **self._middle(element))
