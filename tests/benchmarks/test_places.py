"""The benchmarks of places, on one place with toys that nothing could mistake for each other."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from benchmarks import places, strangers

pytestmark = pytest.mark.slow

TOYS = {"metal": (40, 40, 200), "plastic": (40, 180, 40), "paper": (200, 120, 30)}
A_LABEL = 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Discs, squares and rings of three colours (BGR) on a grey tray, as `training render bench` lays them out."""
    root, rng = tmp_path_factory.mktemp("places"), np.random.default_rng(0)
    (root / "tray" / "empty").mkdir(parents=True)
    rows = []

    def tray() -> Any:
        return np.clip(150 + rng.normal(0, 3, (240, 320, 3)), 0, 255).astype(np.uint8)

    for number in range(3):
        cv2.imwrite(str(root / "tray" / "empty" / f"{number}.png"), tray())
    for label, colour in TOYS.items():
        for number in range(A_LABEL):
            view, mask = tray(), np.zeros((240, 320), np.uint8)
            x, y, size = int(rng.integers(90, 230)), int(rng.integers(80, 160)), int(rng.integers(25, 45))
            for drawn, ink in ((view, colour), (mask, (255,))):
                match label:
                    case "metal":
                        cv2.circle(drawn, (x, y), size, ink, -1)
                    case "plastic":
                        cv2.rectangle(drawn, (x - size, y - size), (x + size, y + size), ink, -1)
                    case _:
                        cv2.circle(drawn, (x, y), size, ink, 12)
            row = {"image": f"tray/{label}-{number}.png", "mask": f"tray/mask-{label}-{number}.png", "label": label, "place": "tray"}
            cv2.imwrite(str(root / row["image"]), view)
            cv2.imwrite(str(root / row["mask"]), mask)
            rows.append(json.dumps(row))
    (root / "index.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return root


@pytest.fixture
def told(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, list[dict[str, Any]]]]:
    """`told(main, *arguments)`: exit status and the lines that it prints."""

    def tell(main: Callable[[], int], *arguments: str) -> tuple[int, list[dict[str, Any]]]:
        monkeypatch.setattr(sys, "argv", ["benchmark", str(folder), "--json", *arguments])
        status = main()
        return status, [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return tell


def test_taught_toys_are_recognised_and_all_other_pictures_are_judged(told: Callable[..., Any]) -> None:
    status, rows = told(places.main, "--shots", "5", "--draws", "1", "--labels", "metal,plastic,paper", "--only")
    assert status == 0
    assert [(row["place"], row["n"]) for row in rows] == [("tray", 3 * A_LABEL), ("all", 3 * A_LABEL)]
    mean, spread = rows[0]["taught"]["5"]
    assert (mean, spread) == (1.0, 0.0)
    assert all(0 <= rows[0][kind] <= 1 for kind in ("whole", "view", "isolated", "looks", "both"))


def test_what_was_not_taught_is_asked_about_beside_what_was(told: Callable[..., Any]) -> None:
    status, rows = told(places.main, "--shots", "5", "--draws", "2", "--labels", "metal,plastic", "--as", "metal=tin")
    assert status == 0
    *_, others = rows
    assert (others["what"], others["n"]) == ("other labels here", A_LABEL)
    mean, least = others["taught"]["5"]
    assert 0 <= least <= mean <= 1 and 0 <= others["before"] <= 1
    assert [row["place"] for row in told(places.main, "--shots", "5", "--draws", "1", "--labels", "metal,plastic", "--only")[1]] == ["tray", "all"]


def test_a_label_with_no_more_photos_than_are_taught_is_left_out(told: Callable[..., Any]) -> None:
    status, rows = told(places.main, "--shots", str(A_LABEL), "--draws", "1")
    assert status == 0 and rows[0]["taught"] == {}


def test_each_label_is_a_stranger_once_and_toys_that_nobody_taught_are_told(told: Callable[..., Any]) -> None:
    status, rows = told(strangers.main, "--shots", "5", "--draws", "1")
    assert status == 0
    assert [row["stranger"] for row in rows] == [*sorted(TOYS), "mean of all"]
    assert rows[-1]["auroc"] > 0.9
    assert rows[-1]["rejected"] > rows[-1]["rejected_known"]
    status, rows = told(strangers.main, "--shots", "5", "--draws", "1", "--labels", "metal,paper", "--as", "metal=tin")
    assert status == 0 and [row["stranger"] for row in rows] == ["plastic", "mean of all"]


def test_strangers_need_a_third_label(told: Callable[..., Any]) -> None:
    assert told(strangers.main, "--shots", "5", "--labels", "metal,plastic,paper") == (2, [])
