"""Kept frames to review, a review's server in a process of its own, and a browser to look at it with."""

import contextlib
import http.client
import json
import resource
import subprocess
import sys
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from websockets.sync.client import ClientConnection

from tests.training.review.chromium import Browser, find_chromium, started
from training.review import Review, ReviewServer

COLOURS = {"glass": (110, 170, 60), "metal": (150, 150, 160), "paper": (70, 120, 200)}
PATIENCE_S = 30.0


def write_frame(folder: Path, name: str, colour: tuple[int, int, int], note: dict[str, Any] | None = None) -> Path:
    """A picture of a disc, no two with the same bytes, and the device's note beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.full((60, 80, 3), 225, np.uint8)
    cv2.circle(pixels, (40, 30), 20, colour, -1)
    cv2.putText(pixels, name[-6:], (2, 56), cv2.FONT_HERSHEY_PLAIN, 0.8, (0, 0, 0))
    picture = folder / f"{name}.jpg"
    cv2.imwrite(str(picture), pixels)
    if note is not None:
        picture.with_suffix(".json").write_text(json.dumps(note), encoding="utf-8")
    return picture


def a_note(item: str, probabilities: dict[str, float], **others: Any) -> dict[str, Any]:
    """What a device writes beside a frame."""
    label = max(probabilities, key=lambda name: probabilities[name])
    said = {"bin": "trash", "reason": "unsure", "bundle": "trashnet", "time": "2026-11-20T09:15:00.000Z"}
    return {"item": item, "label": label, "p": probabilities[label], "probabilities": probabilities} | said | others


@pytest.fixture
def review(kept: Path, tmp_path: Path) -> Iterator[Review]:
    opened = Review(kept, tmp_path / "out")
    yield opened
    opened.close()


@pytest.fixture
def server(review: Review) -> Iterator[ReviewServer]:
    running = ReviewServer(review)
    yield running
    running.close()


@pytest.fixture
def frame() -> Callable[..., Path]:
    """Writes one kept frame: frame(folder, name, colour, note)."""
    return write_frame


@pytest.fixture
def note() -> Callable[..., dict[str, Any]]:
    """A device's note: note(item, probabilities, **others)."""
    return a_note


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """Five frames; in the order of review: e (no note), d, c, b, a. Guesses: glass, glass, paper, metal, none."""
    folder = tmp_path / "kept"
    posteriors = {
        "a": {"glass": 0.80, "metal": 0.15, "paper": 0.05},
        "b": {"glass": 0.60, "metal": 0.30, "paper": 0.10},
        "c": {"glass": 0.20, "metal": 0.25, "paper": 0.55},
        "d": {"glass": 0.30, "metal": 0.40, "paper": 0.30},
    }
    for item, probabilities in posteriors.items():
        said = a_note(item, probabilities)
        write_frame(folder, f"20261120T0915-{item}", COLOURS[said["label"]], said)
    write_frame(folder, "20261120T0915-e", (40, 40, 40))
    return folder


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its bytes."""
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


@pytest.fixture
def contents() -> Callable[[Path], dict[str, bytes]]:
    """The files below a folder: path -> bytes."""
    return tree


@pytest.fixture
def limited_to() -> Iterator[Callable[[int | None], None]]:
    """Limits how long a file of this process may grow, in bytes; a write beyond it fails half done, as on a full disk. None: no limit."""
    before, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (before if size is None else size, most))
    resource.setrlimit(resource.RLIMIT_FSIZE, (before, most))


@dataclass
class Page:
    """A review's address, asked over plain HTTP."""

    url: str
    connection: http.client.HTTPConnection = field(init=False)

    def __post_init__(self) -> None:
        self.address = urllib.parse.urlsplit(self.url)
        self.connection = http.client.HTTPConnection(self.address.netloc, timeout=PATIENCE_S)

    def request(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> http.client.HTTPResponse:
        """Ask for a path below the token."""
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        said = ({"Content-Type": "application/json"} if data is not None else {}) | (headers or {})
        self.connection.request(method, self.address.path + path, data, said)
        return self.connection.getresponse()

    def get(self, path: str) -> Any:
        """The JSON at a path."""
        return json.loads(self.request("GET", path).read())

    def post(self, path: str, body: Any) -> tuple[int, Any]:
        """The status and the JSON that came back."""
        response = self.request("POST", path, body)
        return response.status, json.loads(response.read())


@pytest.fixture
def page() -> Iterator[Callable[[str], Page]]:
    """Opens a page's address: page(url)."""
    with contextlib.ExitStack() as opened:

        def open_page(url: str) -> Page:
            found = Page(url)
            opened.callback(found.connection.close)
            return found

        yield open_page


COMMAND = """
import argparse, sys
from device.common.errors import SortbinError
from training.commands import review
parser = argparse.ArgumentParser(prog="training")
review.add_parser(parser.add_subparsers(dest="command", required=True))
arguments = parser.parse_args()
try:
    sys.exit(arguments.run(arguments))
except SortbinError as error:
    print(f"training {arguments.command}: {error}", file=sys.stderr)
    sys.exit(2)
"""


class Command:
    """`training review` in a process of its own, once it has printed its address."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-c", COMMAND, "review", *arguments, "--no-browser"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.opening = self.process.stdout.readline().strip()
        self.url = self.process.stdout.readline().strip()

    def ended(self) -> tuple[int, str, str]:
        """Wait for the end: exit status, what else it printed, what it complained about."""
        out, err = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, out, err


@pytest.fixture
def command() -> Iterator[Callable[..., Command]]:
    """Starts `training review` with arguments."""
    with contextlib.ExitStack() as started:

        def start(*arguments: str | Path) -> Command:
            running = Command(*map(str, arguments))
            started.callback(running.process.communicate, timeout=PATIENCE_S)
            started.callback(running.process.kill)
            return running

        yield start


@pytest.fixture(scope="session")
def chromium() -> Iterator[ClientConnection]:
    """A headless Chromium with a profile of its own."""
    binary = find_chromium()
    if binary is None:
        pytest.skip("no Chromium is installed")
    with started(binary) as socket:
        yield socket


@pytest.fixture
def browser(chromium: ClientConnection) -> Iterator[Browser]:
    """A fresh tab, in which no script may fail."""
    tab = Browser(chromium)
    yield tab
    tab.close()
    assert tab.errors == []
