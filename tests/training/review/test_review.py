"""A review: what is decided is what lies in the folder, now and after any restart."""

import argparse
import csv
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from converter.data.photos import read_photos
from training.commands import prepare
from training.review import Review, ReviewError
from training.review.dataset import DatasetError
from training.review.journal import FILE, JournalError
from training.review.labels import FolderLabelError
from training.review.review import Outdated, Stands

Contents = Callable[[Path], dict[str, bytes]]


def prepared(folder: Path, dataset: Path) -> list[tuple[str, str]]:
    """What `training prepare` makes of a folder: label and sha256 of each picture."""
    parser = argparse.ArgumentParser()
    prepare.add_parser(parser.add_subparsers())
    arguments = parser.parse_args(["prepare", str(folder), "--out", str(dataset)])
    assert arguments.run(arguments) == 0
    with (dataset / "manifest.csv").open(encoding="utf-8", newline="") as manifest:
        return sorted((row["label"], row["sha256"]) for row in csv.DictReader(manifest))


@pytest.fixture
def opened(kept: Path, tmp_path: Path) -> Iterator[Review]:
    review = Review(kept, tmp_path / "out")
    yield review
    review.close()


def rows(review: Review) -> int:
    return review.state().rows


def decide(review: Review, index: int, label: str | None) -> Stands | None:
    return review.decide(review.frames[index].id, label, rows(review)).stands


def copies(out: Path) -> dict[str, list[str]]:
    """The labels' folders and the items in them."""
    return {folder.name: sorted(file.name.split("-")[1] for file in folder.iterdir()) for folder in sorted(out.iterdir()) if folder.is_dir()}


def test_each_labelled_frame_is_in_its_folder_and_discarded_frames_in_none(opened: Review, kept: Path) -> None:
    assert decide(opened, 0, "纸板") == Stands(what="labelled", label="纸板")
    assert decide(opened, 1, "metal") == Stands(what="confirmed", label="metal")
    assert decide(opened, 2, "glass") == Stands(what="corrected", label="glass")
    assert decide(opened, 3, None) == Stands(what="discarded", label=None)
    assert copies(opened.out) == {"glass": ["c"], "metal": ["d"], "纸板": ["e"]}
    (copy,) = (opened.out / "metal").iterdir()
    assert copy.read_bytes() == (kept / "20261120T0915-d.jpg").read_bytes()
    assert opened.summary() == (
        f"1 confirmed, 1 corrected, 1 labelled without a guess, 1 discarded: 3 pictures in {opened.out} "
        "(glass 1, metal 1, 纸板 1); 1 of 5 frames left"
    )


def test_the_result_is_a_data_folder_without_other_pictures(opened: Review) -> None:
    for index, label in enumerate(["glass", "metal", "glass", "glass", None]):
        decide(opened, index, label)
    assert sorted((photo.label, photo.path.name.split("-")[1]) for photo in read_photos(opened.out)) == [
        ("glass", "b"),
        ("glass", "c"),
        ("glass", "e"),
        ("metal", "d"),
    ]


def test_training_prepare_takes_the_result(opened: Review, tmp_path: Path) -> None:
    for index, label in enumerate(["glass", "纸板", "glass", "纸板", None]):
        decide(opened, index, label)
    labelled = zip(["glass", "纸板", "glass", "纸板"], opened.frames[:4], strict=True)
    assert prepared(opened.out, tmp_path / "set") == sorted((label, frame.id) for label, frame in labelled)


def test_the_labels_are_the_devices_own_unless_others_are_asked_for(kept: Path, tmp_path: Path, opened: Review) -> None:
    assert opened.state().labels == ("glass", "metal", "paper")
    other = Review(kept, tmp_path / "other", ["瓶", "罐"])
    assert other.state().labels == ("瓶", "罐")
    decide(other, 1, "box")
    assert other.state().labels == ("瓶", "罐", "box")
    other.close()


def test_undo_uncovers_the_decision_before_on_the_same_frame(opened: Review, contents: Contents) -> None:
    for label in ("glass", "metal", None, "glass"):
        decide(opened, 1, label)
    assert copies(opened.out) == {"glass": ["d"]}
    seen = []
    for _ in range(4):
        answer = opened.undo(rows(opened))
        seen.append((answer.stands and answer.stands.label, copies(opened.out)))
    assert seen == [(None, {}), ("metal", {"metal": ["d"]}), ("glass", {"glass": ["d"]}), (None, {})]
    assert answer.stands is None
    with pytest.raises(ReviewError, match="nothing to undo"):
        opened.undo(rows(opened))


def test_deciding_what_stands_already_writes_nothing(opened: Review) -> None:
    decide(opened, 1, "glass")
    before = rows(opened)
    assert decide(opened, 1, "glass") == Stands(what="corrected", label="glass")
    assert rows(opened) == before


def test_a_decision_made_on_an_old_view_is_refused(opened: Review) -> None:
    old = rows(opened)
    decide(opened, 1, "glass")
    with pytest.raises(Outdated):
        opened.decide(opened.frames[2].id, "metal", old)
    with pytest.raises(Outdated):
        opened.undo(old)
    assert copies(opened.out) == {"glass": ["d"]}


@pytest.mark.parametrize("label", ["../up", "Glass", "", "."])
def test_a_label_that_cannot_be_is_refused_and_nothing_changes(label: str, opened: Review, contents: Contents) -> None:
    before = contents(opened.out)
    with pytest.raises(FolderLabelError):
        decide(opened, 1, label)
    assert contents(opened.out) == before
    assert sorted(opened.out.parent.iterdir()) == [opened.out.parent / "kept", opened.out]


def test_an_id_that_is_no_frame_is_refused(opened: Review) -> None:
    with pytest.raises(ReviewError, match="no frame"):
        opened.decide("0" * 64, "glass", rows(opened))


def test_a_picture_that_changed_or_vanished_meanwhile_is_not_stored(opened: Review, contents: Contents) -> None:
    before = contents(opened.out)
    frames = opened.frames
    frames[1].picture.write_bytes(frames[2].picture.read_bytes())
    with pytest.raises(DatasetError, match="was changed"):
        decide(opened, 1, "glass")
    frames[3].picture.unlink()
    with pytest.raises(DatasetError, match="No such file"):
        decide(opened, 3, "glass")
    assert contents(opened.out) == before
    assert copies(opened.out) == {}
    assert decide(opened, 3, None) == Stands(what="discarded", label=None)


def test_a_label_folder_that_cannot_be_made_leaves_no_decision(opened: Review) -> None:
    (opened.out / "glass").write_text("a file where the folder has to be")
    with pytest.raises(DatasetError, match="glass"):
        decide(opened, 1, "glass")
    assert rows(opened) == 0
    assert (opened.out / FILE).read_bytes() == b""


def test_a_journal_without_room_leaves_no_trace_of_the_decision(opened: Review, contents: Contents, limited_to: Callable[[int | None], None]) -> None:
    while (opened.out / FILE).stat().st_size < 20_000:
        decide(opened, 1, "glass")
        opened.undo(rows(opened))
    before = contents(opened.out)
    limited_to(len(before[FILE]) + 10)
    for index, label in [(1, "metal"), (2, None)]:
        with pytest.raises(JournalError, match="not stored"):
            decide(opened, index, label)
    limited_to(None)
    assert contents(opened.out) == before
    assert copies(opened.out) == {}
    assert decide(opened, 1, "metal") == Stands(what="confirmed", label="metal")


def test_a_disk_too_full_for_the_picture_leaves_no_decision(opened: Review, contents: Contents, limited_to: Callable[[int | None], None]) -> None:
    before = contents(opened.out)
    limited_to(500)
    with pytest.raises(DatasetError, match="File too large"):
        decide(opened, 1, "metal")
    limited_to(None)
    assert contents(opened.out) == before
    assert copies(opened.out) == {}


def test_a_partial_copy_without_a_decision_is_removed(kept: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for label, name in [("glass", ".x-0123abcd.jpg.part"), ("metal", ".mine.part"), ("metal", "mine.jpg.part")]:
        (out / label).mkdir(parents=True, exist_ok=True)
        (out / label / name).write_bytes(b"half")
    Review(kept, out).close()
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*")) == ["metal", "metal/.mine.part", "metal/mine.jpg.part", FILE]


def test_a_review_goes_on_where_it_stopped_and_undo_reaches_back(kept: Path, tmp_path: Path) -> None:
    first = Review(kept, tmp_path / "out")
    decide(first, 0, "shoe")
    decide(first, 1, "glass")
    first.close()
    with pytest.raises(ReviewError, match="ended"):
        decide(first, 2, "glass")
    second = Review(kept, tmp_path / "out")
    assert [frame.stands and frame.stands.label for frame in second.state().frames] == ["shoe", "glass", None, None, None]
    assert "shoe" in second.state().labels
    second.undo(rows(second))
    assert copies(second.out) == {"shoe": ["e"]}
    second.close()


def test_frames_of_another_folder_join_the_same_result(kept: Path, tmp_path: Path, frame: Callable) -> None:
    first = Review(kept, tmp_path / "out")
    decide(first, 1, "glass")
    decide(first, 1, None)
    first.close()
    frame(tmp_path / "more", "20261120T0915-d", (1, 2, 3))
    second = Review(tmp_path / "more", tmp_path / "out")
    decide(second, 0, "metal")
    assert second.summary().startswith("0 confirmed, 0 corrected, 1 labelled without a guess, 1 discarded: 1 picture in")
    second.undo(rows(second))
    with pytest.raises(DatasetError, match="not among the pictures of this review"):
        second.undo(rows(second))
    assert copies(second.out) == {}
    second.close()
    with_first = Review(kept, tmp_path / "out")
    assert with_first.undo(rows(with_first)).stands == Stands(what="corrected", label="glass")
    assert copies(with_first.out) == {"glass": ["d"]}
    with_first.close()


def test_the_kept_frames_are_never_changed(opened: Review, kept: Path, contents: Contents) -> None:
    before = contents(kept)
    for index in range(5):
        decide(opened, index, "glass")
    opened.undo(rows(opened))
    assert contents(kept) == before


@pytest.mark.parametrize("out", [".", "kept", "kept/result", "kept/../kept/x"])
def test_a_result_in_or_around_the_kept_frames_is_refused(out: str, kept: Path) -> None:
    with pytest.raises(ReviewError, match="another folder"):
        Review(kept, kept.parent / out)
    assert not (kept / "result").exists()


def test_files_that_someone_else_put_into_the_result_are_left_alone(kept: Path, tmp_path: Path) -> None:
    own = tmp_path / "out" / "glass" / "mine.jpg"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"mine")
    review = Review(kept, tmp_path / "out")
    decide(review, 1, "glass")
    review.undo(rows(review))
    review.close()
    assert own.read_bytes() == b"mine"
    assert [file.name for file in own.parent.iterdir()] == ["mine.jpg"]


def test_a_folder_whose_pictures_are_all_unreadable_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "x.jpg").write_bytes(b"")
    with pytest.raises(ReviewError, match=r"x\.jpg"):
        Review(tmp_path / "kept", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_result_that_cannot_be_written_is_named(kept: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises((ReviewError, JournalError), match="out"):
        Review(kept, tmp_path / "out")


steps = st.lists(
    st.one_of(
        st.tuples(st.just("decide"), st.integers(0, 4), st.sampled_from(["glass", "metal", "纸", None])),
        st.tuples(st.just("undo")),
        st.tuples(st.just("restart")),
        st.tuples(st.just("lose"), st.integers(0, 4)),
        st.tuples(st.just("crash"), st.integers(0, 4), st.sampled_from(["glass", "metal", "纸", None])),
        st.tuples(st.just("crash undoing")),
    ),
    max_size=25,
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps)
def test_the_folder_always_equals_a_replay_of_the_journal(steps: list[tuple], kept: Path, tmp_path: Path, contents: Contents) -> None:
    out, again = tmp_path / "out", tmp_path / "again"
    for left in (out, again, tmp_path / "before"):
        shutil.rmtree(left, ignore_errors=True)
    review = Review(kept, out)
    made: list[tuple[int, str | None]] = []
    for step in steps:
        match step:
            case ("decide", index, label):
                if [given for which, given in made if which == index][-1:] != [label]:
                    made.append((index, label))
                decide(review, index, label)
            case ("undo",) if made:
                made.pop()
                review.undo(rows(review))
            case ("restart",):
                review.close()
                review = Review(kept, out)
            case ("lose", number):  # what a power cut can take: pictures whose names were not on disk yet
                review.close()
                for copy in sorted(out.glob("*/*.jpg"))[number : number + 1]:
                    copy.rename(copy.with_name(f".{copy.name}.part"))
                review = Review(kept, out)
            case ("crash", *_) | ("crash undoing",) if step[0] == "crash" or made:  # in the journal, and the folder as it was
                before = shutil.copytree(out, tmp_path / "before")
                if step[0] == "crash":
                    _, index, label = step
                    if [given for which, given in made if which == index][-1:] != [label]:
                        made.append((index, label))
                    decide(review, index, label)
                else:
                    made.pop()
                    review.undo(rows(review))
                review.close()
                shutil.copyfile(out / FILE, before / FILE)
                shutil.rmtree(out)
                before.rename(out)
                review = Review(kept, out)
    review.close()

    again.mkdir()
    shutil.copyfile(out / FILE, again / FILE)
    Review(kept, again).close()
    assert contents(out) == contents(again)
    assert sorted(out.rglob("*")) == sorted(out / path.relative_to(again) for path in again.rglob("*"))

    standing = {review.frames[index].name.removesuffix(".jpg")[-1]: label for index, label in made}
    assert {item: label for label, items in copies(out).items() for item in items} == {k: v for k, v in standing.items() if v is not None}
