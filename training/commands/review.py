"""`training review`: a person's word on the frames a bin was unsure of."""

import argparse
import contextlib
import os
import signal
import sys
import threading
import webbrowser
from pathlib import Path
from typing import Any

WAKE_S = 1.0


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add `review` to the command line."""
    parser = commands.add_parser(
        "review",
        help="label in the browser what a bin was unsure of",
        description="Show the frames that a bin kept, the one that teaches most first, on a page in the browser. One key confirms the "
        "guess or corrects it. Pictures are copied to a folder per label, which `training prepare` takes; DIR is never changed. Every "
        "decision is stored as it is made, so the same command goes on where it was stopped. Exit status: 0 ended by its Done button, "
        "Ctrl-C or SIGTERM, 2 bad usage or input.",
    )
    option = parser.add_argument
    option("dir", type=Path, metavar="DIR", help="a folder of kept frames, or of any pictures; folders in it are looked through too")
    option("--out", type=Path, required=True, metavar="DATASET", help="folder of the result; of an earlier review, to go on with it")
    option("--labels", type=_labels, default=(), metavar="A,B,C", help="labels to choose from, in this order (default: the bin's own)")
    option("--port", type=int, default=0, metavar="N", help="port on 127.0.0.1 (default: a free one)")
    option("--no-browser", action="store_true", help="only print the address")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve the page until the person is done. Returns the exit status."""
    from converter.common.progress import Progress
    from training.review import Review, ReviewServer

    with contextlib.closing(Progress()) as progress:
        progress.step(f"reading {arguments.dir}")
        opened = Review(arguments.dir, arguments.out, arguments.labels)
    with contextlib.closing(opened) as review:
        for problem in review.problems:
            print(f"training review: {problem}", file=sys.stderr)
        with contextlib.closing(ReviewServer(review, arguments.port)) as server:
            stop = _stop_on_signals()
            state = review.state()
            before = sum(frame.stands is not None for frame in state.frames)
            print(f"{len(state.frames)} frames in {arguments.dir}, {before} of them decided before; Done or Ctrl-C ends it")
            print(server.url, flush=True)
            if not arguments.no_browser and _has_screen():
                webbrowser.open(server.url)
            while not (stop.is_set() or server.done.wait(WAKE_S)):
                pass
    print(review.summary())
    return 0


def _stop_on_signals() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _has_screen() -> bool:
    """Without one, a text browser would take the terminal."""
    return sys.platform == "darwin" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _labels(text: str) -> tuple[str, ...]:
    return tuple(label for label in (part.strip() for part in text.split(",")) if label)
