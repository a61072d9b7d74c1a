"""`training review` as a person starts and ends it."""

import argparse
import json
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from device.common.errors import SortbinError
from training.commands import review
from training.review.journal import FILE

Contents = Callable[[Path], dict[str, bytes]]


def test_the_command_prints_frame_count_address_and_summary(
    command: Callable[..., Any], page: Callable[[str], Any], kept: Path, tmp_path: Path
) -> None:
    (kept / "20261120T0915-broken.jpg").write_bytes(b"")
    running = command(kept, "--out", tmp_path / "out", "--labels", "glass, metal,paper")
    assert running.opening == f"5 frames in {kept}, 0 of them decided before; Done or Ctrl-C ends it"
    here = page(running.url)
    state = here.get("state")
    assert state["labels"] == ["glass", "metal", "paper"]
    here.post("decide", {"picture": state["frames"][1]["id"], "label": "metal", "rows": 0})
    running.process.send_signal(signal.SIGINT)
    status, out, err = running.ended()
    assert status == 0
    assert out == f"1 confirmed, 0 corrected, 0 discarded: 1 picture in {tmp_path / 'out'} (metal 1); 4 of 5 frames left\n"
    assert err == f"training review: {kept / '20261120T0915-broken.jpg'}: not a picture that can be decoded; left out\n"


def test_done_ends_it_too(command: Callable[..., Any], page: Callable[[str], Any], kept: Path, tmp_path: Path) -> None:
    running = command(kept, "--out", tmp_path / "out")
    page(running.url).post("done", {})
    status, out, _ = running.ended()
    assert status == 0
    assert out.startswith("0 confirmed")


def test_kill_9_loses_no_acknowledged_decision(
    command: Callable[..., Any], page: Callable[[str], Any], kept: Path, tmp_path: Path, contents: Contents
) -> None:
    out = tmp_path / "out"
    running = command(kept, "--out", out)
    here = page(running.url)
    frames = here.get("state")["frames"]
    for rows, (frame, label) in enumerate(zip(frames[:3], ["glass", "纸", None], strict=True)):
        assert here.post("decide", {"picture": frame["id"], "label": label, "rows": rows})[0] == 200
    body = json.dumps({"picture": frames[3]["id"], "label": "metal", "rows": 3}).encode()
    head = f"POST {here.address.path}decide HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    with socket.create_connection((here.address.hostname, here.address.port), timeout=5) as asking:
        asking.sendall(head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        running.process.kill()
    assert running.ended()[0] == -signal.SIGKILL

    again = command(kept, "--out", out)
    state = page(again.url).get("state")
    stand = [frame["stands"] and frame["stands"]["label"] for frame in state["frames"]]
    assert stand[:3] == ["glass", "纸", None]
    assert state["frames"][2]["stands"] == {"what": "discarded", "label": None}
    assert stand[3] in (None, "metal")  # asked for, and never answered
    assert again.opening.startswith(f"5 frames in {kept}, {3 + (stand[3] is not None)} of them decided before")
    again.process.send_signal(signal.SIGTERM)
    assert again.ended()[0] == 0

    fresh = tmp_path / "fresh"
    fresh.mkdir()
    (fresh / FILE).write_bytes((out / FILE).read_bytes())
    replay = command(kept, "--out", fresh)
    replay.process.send_signal(signal.SIGTERM)
    replay.ended()
    assert contents(out) == contents(fresh)
    assert sum(path.endswith(".jpg") for path in contents(out)) == sum(label is not None for label in stand)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere", "--out", "out"], "nowhere: expected a folder of stored frames, found nothing"),
        (["kept", "--out", "kept/out"], "kept/out: lies in kept"),
        (["kept", "--out", "out", "--labels", "a/b"], "label a/b: expected no /"),
        (["kept", "--out", "out", "--port", "99999"], "--port 99999: expected a port"),
    ],
)
def test_a_mistake_is_named_in_one_line(arguments: list[str], said: str, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(kept.parent)
    parser = argparse.ArgumentParser()
    review.add_parser(parser.add_subparsers())
    parsed = parser.parse_args(["review", *arguments, "--no-browser"])
    with pytest.raises(SortbinError) as refused:
        parsed.run(parsed)
    assert str(refused.value).startswith(said)
    assert len(str(refused.value).splitlines()) == 1
