"""The command as a whole: what it finds, how it splits, and what it writes."""

import hashlib
import json
import shutil
import warnings
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from converter.data.photos import read_fold, read_photos, read_split
from tests.training.prepare.pictures import LABELS, drawn, encoded, fill, rows, splits
from training.prepare.options import PrepareError
from training.prepare.plots import draw_labels

TRASHNET = Path(__file__).parents[3].parent / "shared" / "data" / "trashnet"
GLASS, METAL, MOUSE = LABELS


def flags(out: Path) -> dict[str, str]:
    return {path: row["flags"] for path, row in rows(out).items() if row["flags"]}


def state(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Everything about a folder that must not change."""
    return {
        file.relative_to(folder).as_posix(): (file.stat().st_mtime_ns, file.stat().st_mode, file.read_bytes() if file.is_file() else b"")
        for file in sorted(folder.rglob("*"))
    }


def test_each_kind_of_broken_picture_is_flagged_named_and_left_out(prepare, source: Path, out: Path, capsys) -> None:
    photo = encoded(drawn(7), ".jpg", cv2.IMWRITE_JPEG_QUALITY, 95)
    half = photo[: len(photo) // 2]
    other = encoded(drawn(17), ".jpg", cv2.IMWRITE_JPEG_QUALITY, 95)
    ended = "truncated (Corrupt JPEG data: premature end of data segment); left out"
    added = {
        f"{GLASS}/empty.jpg": (b"", "unreadable", "unreadable (empty); left out"),
        f"{GLASS}/text.png": (b"not a picture", "unreadable", "unreadable (not a picture that can be decoded); left out"),
        f"{GLASS}/half.jpg": (half, "truncated", "truncated (the end is missing, nothing can be decoded); left out"),
        f"{GLASS}/zeros.jpg": (half + bytes(5000), "truncated", "truncated (its end is missing); left out"),
        f"{GLASS}/ended.jpg": (other[: len(other) // 2] + b"\xff\xd9", "truncated", ended),
        f"{METAL}/small.png": (encoded(drawn(8, 40, 20)), "tiny", "40 x 20, outside --min-side 32; left out"),
        f"{METAL}/long.png": (encoded(drawn(9, 200, 50)), "aspect", "200 x 50, outside --max-aspect 3; left out"),
    }
    for path, (data, _, _) in added.items():
        (source / path).write_bytes(data)
    before = state(source)
    assert prepare(source, "--out", out) == 0
    assert flags(out) == {path: flag for path, (_, flag, _) in added.items()}
    assert splits(out)[""] == set(added)
    said, complained = capsys.readouterr()
    assert complained == ""
    for path, (_, _, line) in added.items():
        assert f"{path}: {line}\n" in said
    assert state(source) == before


def test_flags_named_by_the_user_decide_what_is_left_out(prepare, source: Path, out: Path) -> None:
    (source / METAL / "small.png").write_bytes(encoded(drawn(8, 40, 20)))
    (source / METAL / "copy.png").write_bytes((source / METAL / "shot_003.png").read_bytes())
    assert prepare(source, "--out", out, "--leave-out", "duplicate", "--min-side", "21") == 0
    assert flags(out) == {f"{METAL}/shot_003.png": "duplicate", f"{METAL}/small.png": "tiny"}
    assert splits(out)[""] == {f"{METAL}/shot_003.png"}


def test_copies_are_one_group_and_under_two_labels_in_no_split(prepare, source: Path, out: Path, capsys) -> None:
    shot = (source / GLASS / "shot_002.png").read_bytes()
    (source / GLASS / "shot_900.png").write_bytes(shot)
    pixels = drawn(1003)
    (source / GLASS / "again.bmp").write_bytes(encoded(pixels, ".bmp"))
    assert prepare(source, "--out", out) == 0
    found = rows(out)
    assert flags(out) == {f"{GLASS}/shot_900.png": "duplicate", f"{GLASS}/again.bmp": "conflict", f"{METAL}/shot_003.png": "duplicate conflict"}
    assert found[f"{GLASS}/shot_900.png"]["group"] == f"{GLASS}/shot_002.png"
    assert found[f"{GLASS}/shot_900.png"]["split"] == found[f"{GLASS}/shot_002.png"]["split"] != ""
    assert splits(out)[""] == {f"{GLASS}/again.bmp", f"{METAL}/shot_003.png"}
    said = capsys.readouterr().out
    assert f"{METAL}/shot_003.png: the same picture as {GLASS}/again.bmp, which has another label; both left out\n" in said
    assert "pairs: 1 the same under different labels, 1 the same, 0 nearly the same" in said


def test_near_duplicates_never_straddle(prepare, source: Path, out: Path) -> None:
    for index in range(8):
        near = cv2.resize(drawn(2000 + index), (100, 75))
        (source / MOUSE / f"near_{index}.jpg").write_bytes(encoded(near, ".jpg", cv2.IMWRITE_JPEG_QUALITY, 60))
    assert prepare(source, "--out", out, "--val-share", "0.3", "--test-share", "0.2", "--folds", "3") == 0
    found = rows(out)
    for index in range(8):
        near, shot = found[f"{MOUSE}/near_{index}.jpg"], found[f"{MOUSE}/shot_{index:03}.png"]
        assert near["group"] == shot["group"]
        assert near["split"] == shot["split"] != ""
        assert near["fold"] == shot["fold"]
        assert (near["flags"], shot["flags"]) == ("", "near")


def test_sequences_never_straddle_and_shares_are_kept(prepare, tmp_path: Path, out: Path) -> None:
    source = fill(tmp_path / "photos", per_label=30)
    assert prepare(source, "--out", out, "--group-by", "filename-block:3", "--val-share", "0.2", "--test-share", "0.1", "--folds", "5") == 0
    found = rows(out)
    blocks: dict[str, set[tuple[str, str]]] = {}
    for path, row in found.items():
        blocks.setdefault(f"{row['label']} {int(path[-7:-4]) // 3}", set()).add((row["split"], row["fold"]))
    assert len(blocks) == 30
    assert all(len(places) == 1 for places in blocks.values())
    for label in LABELS:
        own = [row for row in found.values() if row["label"] == label]
        assert [sum(row["split"] == split for row in own) for split in ("train", "val", "test")] == [21, 6, 3]
        assert sorted(sum(row["fold"] == str(fold) for row in own) for fold in range(5)) == [3, 6, 6, 6, 6]
    assert all(row["fold"] == "" for row in found.values() if row["split"] == "test")


def test_given_lists_are_used_and_groups_they_split_are_reported(prepare, source: Path, out: Path, tmp_path: Path, capsys) -> None:
    shutil.copy(source / GLASS / "shot_000.png", source / GLASS / "twin.png")
    train, val = tmp_path / "train.txt", tmp_path / "val.txt"
    train.write_bytes(f"{GLASS}/shot_000.png\r\n{METAL}/shot_000.png\r\n\r\n{GLASS}/shot_001.png\r\n".encode())
    val.write_text(f"{GLASS}/twin.png\n{METAL}/shot_001.png", encoding="utf-8")
    assert prepare(source, "--out", out, "--split-lists", train, val) == 0
    assert splits(out)["train"] == {f"{GLASS}/shot_000.png", f"{METAL}/shot_000.png", f"{GLASS}/shot_001.png"}
    assert splits(out)["val"] == {f"{GLASS}/twin.png", f"{METAL}/shot_001.png"}
    assert flags(out)[f"{GLASS}/twin.png"] == "duplicate straddles"
    assert flags(out)[f"{MOUSE}/shot_000.png"] == "unlisted"
    said = capsys.readouterr().out
    assert "1 of 2 pictures in val are of a group that is in another split too" in said
    assert f"{MOUSE}: 8 pictures, none that can be used; it is no label\n" in said
    assert read_split(out).labels == (GLASS, METAL)


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ((f"{GLASS}/shot_000.png\n", f"{GLASS}/shot_000.png\n"), r"val.txt: glass/shot_000.png is in .*train.txt too"),
        ((f"{GLASS}/shot_000.png\n", f"{METAL}/shot_99.png\n"), r"val.txt: names métal/shot_99.png, which is no picture of the source"),
        ((b"\xff\n", "\n"), r"train.txt: expected UTF-8 text"),
        ((f"{GLASS}/shot_000.png\n", None), r"val.txt: No such file"),
    ],
)
def test_lists_that_cannot_be_kept_to_are_refused(prepare, source: Path, out: Path, tmp_path: Path, lists, message: str) -> None:
    files = [tmp_path / "train.txt", tmp_path / "val.txt"]
    for file, content in zip(files, lists, strict=True):
        if content is not None:
            file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(PrepareError, match=message):
        prepare(source, "--out", out, "--split-lists", *files)


def test_split_folders_are_used_and_validation_comes_from_training(prepare, tmp_path: Path, out: Path) -> None:
    fill(tmp_path / "photos" / "train", per_label=10)
    for number, label in enumerate(LABELS):
        (tmp_path / "photos" / "test" / label).mkdir(parents=True)
        (tmp_path / "photos" / "test" / label / "1.png").write_bytes(encoded(drawn(500 + number)))
    assert prepare(tmp_path / "photos", "--out", out, "--val-share", "0.2") == 0
    found = splits(out)
    assert found["test"] == {f"test/{label}/1.png" for label in LABELS}
    assert (len(found["train"]), len(found["val"])) == (24, 6)
    assert read_split(out).labels == LABELS


def test_cifar_100_keeps_its_test_pictures_for_the_test(prepare, cifar100, out: Path) -> None:
    cifar100.pictures = np.stack([drawn(seed, 32, 32) for seed in range(30)])
    cifar100.numbers, cifar100.training = [0, 8, 99] * 10, 24
    assert prepare("cifar100", "--out", out, "--val-share", "0.25") == 0
    found = splits(out)
    assert (len(found["train"]), len(found["val"]), len(found["test"])) == (18, 6, 6)
    assert all(path.startswith("test/") for path in found["test"])
    assert read_split(out).labels == ("apple", "bicycle", "worm")
    assert all(photo.path.is_file() for photo in read_photos(out))


def test_a_cap_keeps_the_same_pictures_of_each_label_again(prepare, source: Path, out: Path, tmp_path: Path) -> None:
    assert prepare(source, "--out", out, "--cap", "5") == 0
    kept = {path for path, row in rows(out).items() if row["split"]}
    assert [sum(path.startswith(label) for path in kept) for label in LABELS] == [5, 5, 5]
    assert set(flags(out).values()) == {"capped"}
    (source / GLASS / "shot_500.png").write_bytes(encoded(drawn(77)))
    assert prepare(source, "--out", tmp_path / "more", "--cap", "5") == 0
    again = {path for path, row in rows(tmp_path / "more").items() if row["split"]}
    assert len(kept - again) <= 1
    assert prepare(source, "--out", tmp_path / "seed", "--cap", "5", "--seed", "1") == 0
    assert {path for path, row in rows(tmp_path / "seed").items() if row["split"]} != kept


def test_the_manifest_says_what_the_files_are_and_readers_agree(prepare, source: Path, out: Path) -> None:
    assert prepare(source, "--out", out, "--folds", "4") == 0
    for path, row in rows(out).items():
        assert row["sha256"] == hashlib.sha256((source / path).read_bytes()).hexdigest()
        assert (row["width"], row["height"], row["label"]) == ("64", "48", path.split("/")[0])
    split = read_split(out)
    assert {photo.name for photo in split.train} == splits(out)["train"]
    assert {photo.name for photo in split.val} == splits(out)["val"]
    assert len(read_photos(out)) == 24
    rounds = [read_fold(out, fold) for fold in range(4)]
    assert sorted(photo for fold in rounds for photo in fold.val) == read_photos(out)


def test_mean_and_deviation_are_those_of_the_training_pictures(prepare, source: Path, out: Path) -> None:
    (source / GLASS / "shot_000.png").write_bytes(encoded(drawn(3, 640, 480)))
    assert prepare(source, "--out", out) == 0
    info = json.loads((out / "dataset.json").read_text())
    pictures = [cv2.cvtColor(cv2.imread(str(photo.path)), cv2.COLOR_BGR2RGB).reshape(-1, 3) / 255 for photo in read_split(out).train]
    mean = np.mean([pixels.mean(axis=0) for pixels in pictures], axis=0)
    square = np.mean([(pixels**2).mean(axis=0) for pixels in pictures], axis=0)
    assert np.allclose(info["mean"], mean, atol=1e-9)
    assert np.allclose(info["std"], np.sqrt(square - mean**2), atol=1e-9)


def test_the_report_stands_alone_and_its_figures_lie_beside_it(prepare, source: Path, out: Path) -> None:
    shutil.copy(source / GLASS / "shot_000.png", source / METAL / "<twin>.png")
    assert prepare(source, "--out", out, "--folds", "2") == 0
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page and "://" not in page and 'src="data:' in page
    assert f"{METAL}/&lt;twin&gt;.png" in page and MOUSE in page
    figures = json.loads((out / "report" / "report.json").read_text(encoding="utf-8"))
    assert [(pair["one"], pair["other"]) for pair in figures["conflicts"]] == [(f"{GLASS}/shot_000.png", f"{METAL}/<twin>.png")]
    assert figures["sizes"] == [[64, 48, 25]]
    assert sum(count for _, count in figures["aspects"]) == 25
    for name in ("sizes", "labels", "aspects", "conflict-01"):
        assert cv2.imread(str(out / "report" / f"{name}.png")).std() > 1


def test_labels_in_any_script_have_signs_in_the_plot(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_labels(tmp_path / "labels.png", {"train": {MOUSE: 3, METAL: 4}}, {GLASS: 1})
        draw_labels(tmp_path / "other.png", {"train": {MOUSE[::-1]: 3, METAL: 4}}, {GLASS: 1})
        draw_labels(tmp_path / "odd.png", {"train": {"5$ or \\{ $": 3, "long " * 30: 4}}, {})
    assert (tmp_path / "labels.png").read_bytes() != (tmp_path / "other.png").read_bytes()


def test_lone_pictures_and_empty_folders_get_a_line_each(prepare, source: Path, out: Path, capsys) -> None:
    (source / "battery").mkdir()
    (source / "battery" / "1.png").write_bytes(encoded(drawn(42)))
    (source / "empty").mkdir()
    (source / "splits").mkdir()
    (source / "splits" / "train.txt").touch()
    (source / "cover.png").write_bytes(encoded(drawn(43)))
    (source / GLASS / "photo.heic").write_bytes(b"x")
    assert prepare(source, "--out", out, "--folds", "3") == 0
    said = capsys.readouterr().out.splitlines()
    assert "battery: only 1 picture in 1 group, all for training: none in val" in said
    assert "battery: 2 of 3 folds have no picture of it" in said
    assert "empty: holds no picture; it is no label" in said
    assert "cover.png: lies in no label's folder; left out" in said
    assert "1 file of a kind that is not read (.heic 1), only .bmp, .jpeg, .jpg, .png, .webp; passed over" in said
    assert any(line.startswith("glass has 8 pictures, 8.0 times the 1 of battery") for line in said)
    assert not any(line.startswith("splits") for line in said)
    assert read_split(out).labels == ("battery", *LABELS)
    assert rows(out)["battery/1.png"]["split"] == "train"


def test_a_zip_gives_the_same_data_set_as_its_folder(prepare, source: Path, out: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for file in sorted(source.rglob("*.png")):
            archive.write(file, f"photos-main/{file.relative_to(source).as_posix()}")
    assert prepare(tmp_path / "photos.zip", "--out", out) == 0
    assert prepare(source, "--out", tmp_path / "local") == 0
    assert (out / "manifest.csv").read_text().replace("photos-main/", "") == (tmp_path / "local" / "manifest.csv").read_text()
    moved = out.rename(tmp_path / "moved")
    assert all(photo.path.is_file() for photo in read_photos(moved))


def test_preparing_again_gives_the_same_bytes_and_notices_changes(prepare, source: Path, out: Path, tmp_path: Path, capsys) -> None:
    assert prepare(source, "--out", out, "--folds", "3") == 0
    first = {name: (out / name).read_bytes() for name in ("manifest.csv", "dataset.json")}
    capsys.readouterr()
    assert prepare(source, "--out", out, "--folds", "3") == 0
    assert "24 of 24 pictures had been inspected before" in capsys.readouterr().out
    assert {name: (out / name).read_bytes() for name in first} == first
    assert prepare(source, "--out", tmp_path / "anew", "--folds", "3") == 0
    assert {name: (tmp_path / "anew" / name).read_bytes() for name in first} == first
    (source / GLASS / "shot_001.png").unlink()
    (source / GLASS / "shot_002.png").write_bytes(encoded(drawn(99, 80, 60)))
    capsys.readouterr()
    assert prepare(source, "--out", out, "--folds", "3") == 0
    assert "22 of 23 pictures had been inspected before" in capsys.readouterr().out
    assert rows(out)[f"{GLASS}/shot_002.png"]["width"] == "80"
    assert f"{GLASS}/shot_001.png" not in rows(out)


def test_json_holds_the_result(prepare, source: Path, out: Path, capsys) -> None:
    assert prepare(source, "--out", out, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["info"] == json.loads((out / "dataset.json").read_text())
    assert (result["groups"], result["near"]) == (24, 0)


def test_places_that_are_no_place_for_it_are_refused(prepare, source: Path, out: Path, tmp_path: Path) -> None:
    before = state(source)
    for place in (source, source / "set"):
        with pytest.raises(PrepareError, match=r"lies in the source, which is never changed"):
            prepare(source, "--out", place)
    assert state(source) == before
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").touch()
    with pytest.raises(PrepareError, match=r"full: holds something that is no prepared data set"):
        prepare(source, "--out", tmp_path / "full")
    with pytest.raises(PrepareError, match=r"notes.txt: exists and is no folder"):
        prepare(source, "--out", tmp_path / "full" / "notes.txt")
    assert prepare(source, "--out", out, "--seed", "3") == 0
    with pytest.raises(PrepareError, match=r"set: was prepared with other options \(seed was 3, now 4\); name another folder"):
        prepare(source, "--out", out, "--seed", "4")
    with pytest.raises(PrepareError, match=r"set: is a prepared data set itself; name what it was made of"):
        prepare(out, "--out", tmp_path / "again")
    other = shutil.copytree(source, tmp_path / "other")
    with pytest.raises(PrepareError, match=r"set: was prepared with other options \(source was .*photos, now .*other\)"):
        prepare(other, "--out", out, "--seed", "3")


def test_options_may_change_until_a_data_set_is_finished(prepare, source: Path, out: Path, tmp_path: Path, capsys) -> None:
    with pytest.raises(PrepareError, match=r"photos: none of its 24 pictures is left to use; see --leave-out"):
        prepare(source, "--out", out, "--min-side", "65")
    with pytest.raises(PrepareError, match=r"set: was prepared with other options \(source was"):
        prepare(fill(tmp_path / "other"), "--out", out)
    assert prepare(source, "--out", out, "--min-side", "48") == 0
    assert "24 of 24 pictures had been inspected before" in capsys.readouterr().out
    with pytest.raises(PrepareError, match=r"set: was prepared with other options \(min_side was 48, now 47\)"):
        prepare(source, "--out", out, "--min-side", "47")


def test_sources_without_two_labels_are_refused(prepare, out: Path, tmp_path: Path) -> None:
    (tmp_path / "none" / "glass").mkdir(parents=True)
    (tmp_path / "none" / "glass" / "a.heic").touch()
    with pytest.raises(PrepareError, match=r"none: expected a folder of pictures for each label, found no picture in any folder; it holds 1"):
        prepare(tmp_path / "none", "--out", out)
    fill(tmp_path / "one", labels=(GLASS,))
    with pytest.raises(PrepareError, match=r"one: expected a folder for each of at least two labels, found usable pictures of glass only"):
        prepare(tmp_path / "one", "--out", tmp_path / "set1")
    with pytest.raises(PrepareError, match=r"nowhere: expected a folder"):
        prepare(tmp_path / "nowhere", "--out", tmp_path / "set3")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--val-share", "0.8", "--test-share", "0.2"], r"--val-share and --test-share: expected less than 1 together"),
        (["--split-lists", "train.txt"], r"--split-lists: expected two or three files"),
        (["--group-by", "name"], r"--group-by name: expected filename-block:N"),
    ],
)
def test_options_that_make_no_sense_are_refused(prepare, source: Path, out: Path, options: list[str], message: str) -> None:
    with pytest.raises(PrepareError, match=message):
        prepare(source, "--out", out, *options)
    assert not out.exists()


@pytest.mark.parametrize(
    "options",
    [
        ["--leave-out", "ugly"],
        ["--near", "17"],
        ["--max-aspect", "0.5"],
        ["--folds", "1"],
        ["--cap", "0"],
        ["--val-share", "nan"],
        ["--names-encoding", "runes"],
    ],
)
def test_values_out_of_range_are_usage_errors(prepare, source: Path, out: Path, options: list[str], capsys) -> None:
    with pytest.raises(SystemExit) as refused:
        prepare(source, "--out", out, *options)
    assert refused.value.code == 2
    assert f"argument {options[0]}: expected" in capsys.readouterr().err


@pytest.mark.skipif(not TRASHNET.is_dir(), reason="the photos of TrashNet are not here")
def test_the_mislabelled_pairs_of_trashnet_are_found(prepare, out: Path, tmp_path: Path, capsys) -> None:
    source = tmp_path / "photos"
    chosen = [("glass", 115), ("metal", 91), ("glass", 389), ("plastic", 332), ("paper", 185), ("paper", 390)]
    chosen += [(label, number) for label in ("glass", "metal", "plastic", "paper") for number in range(1, 16)]
    for label, number in chosen:
        photo = TRASHNET / label / f"{label}{number}.jpg"
        if photo.exists():
            (source / label).mkdir(parents=True, exist_ok=True)
            (source / label / photo.name).symlink_to(photo)
    assert prepare(source, "--out", out, "--group-by", "filename-block:10") == 0
    said = capsys.readouterr().out
    assert "metal/metal91.jpg: the same picture as glass/glass115.jpg, which has another label; both left out" in said
    assert "plastic/plastic332.jpg: the same picture as glass/glass389.jpg, which has another label; both left out" in said
    assert (
        {path for path, found in flags(out).items() if "conflict" in found}
        == splits(out)[""]
        == {
            "glass/glass115.jpg",
            "glass/glass389.jpg",
            "metal/metal91.jpg",
            "plastic/plastic332.jpg",
        }
    )
    assert rows(out)["paper/paper390.jpg"]["group"] == rows(out)["paper/paper185.jpg"]["group"]
