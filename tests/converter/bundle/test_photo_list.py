"""A bundle is not tested on its training photos. Photos are recognized by their content."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from converter.benchmark.benchmark import BenchmarkRequest, read_inputs
from converter.bundle.photo_list import FILE, choose_evaluation_photos, listed_split
from converter.cli import main
from converter.data.photos import Photo, PhotosError, read_photos
from converter.data.training_run import Run, read_run
from converter.verify import verification
from device.vision.inference.bundle import Bundle, ForeignModel, read_bundle, write_bundle


@pytest.fixture
def run(shapes_run: Path, photos: Path) -> Run:
    return read_run(shapes_run, photos)


@pytest.fixture
def bundle(shapes_bundle: Path) -> Bundle:
    return read_bundle(shapes_bundle)


def older(bundle: Bundle, folder: Path) -> Bundle:
    """The bundle without its photo list, as older versions wrote it."""
    shutil.copytree(bundle.folder, folder)
    (folder / FILE).unlink()
    return write_bundle(folder, bundle.info)


def renamed(photos: tuple[str, ...], data: Path, out: Path) -> Path:
    """Copies of photos under other names, in folders of the same labels."""
    for number, name in enumerate(photos):
        (out / Path(name).parent).mkdir(parents=True, exist_ok=True)
        shutil.copy(data / name, out / Path(name).parent / f"copy{number}.png")
    return out


def names(photos: Sequence[Photo]) -> set[str]:
    return {photo.name for photo in photos}


def test_the_bundles_own_validation_photos_are_found_in_a_plain_folder(bundle: Bundle, run: Run, photos: Path) -> None:
    judging = choose_evaluation_photos(bundle, photos, "val")
    assert names(judging.photos) == names(run.val)
    assert judging.claimed and not judging.remark


def test_renamed_validation_photos_are_found(bundle: Bundle, run: Run, photos: Path, tmp_path: Path) -> None:
    data = renamed(tuple(photo.name for photo in run.val), photos, tmp_path / "data")
    judging = choose_evaluation_photos(bundle, data, "val")
    assert len(judging.photos) == len(run.val) and judging.claimed


def test_other_photos_are_not_claimed(bundle: Bundle, run: Run, photos: Path, tmp_path: Path) -> None:
    data = renamed(tuple(photo.name for photo in run.val), photos, tmp_path / "data")
    changed = read_photos(data)[0].path
    changed.write_bytes(changed.read_bytes() + b"changed")
    judging = choose_evaluation_photos(bundle, data, "val")
    assert not judging.claimed and judging.remark == f"1 of its {len(run.val)} validation photos missing"


def test_measuring_on_training_photos_is_refused(bundle: Bundle, run: Run, photos: Path, tmp_path: Path) -> None:
    data = renamed(tuple(photo.name for photo in run.train), photos, tmp_path / "data")
    with pytest.raises(PhotosError, match=r"was trained on all \d+ photos of val: no test"):
        choose_evaluation_photos(bundle, data, "val")
    judging = choose_evaluation_photos(bundle, data, "all")
    assert judging.remark == f"it was trained on {len(run.train)} of these {len(run.train)} photos: this is no test"


def test_training_photos_among_others_are_left_out(bundle: Bundle, run: Run, photos: Path, tmp_path: Path) -> None:
    data = renamed(tuple(photo.name for photo in run.train), photos, tmp_path / "data")
    (data / "splits").mkdir()
    listed = read_photos(data)
    for photo in listed[::5]:
        photo.path.write_bytes(photo.path.read_bytes() + b"another photo")
    (data / "splits" / "test.txt").write_text("".join(f"{photo.name}\n" for photo in listed[:10]))
    judging = choose_evaluation_photos(bundle, data, "test")
    assert names(judging.photos) == names(listed[0:10:5])
    assert judging.remark == "8 photos that it was trained on are left out" and not judging.claimed


def test_the_split_of_an_older_bundle_is_recognized(bundle: Bundle, run: Run, own_photos: Path, tmp_path: Path) -> None:
    (own_photos / "splits").mkdir()
    for name, listed in (("train.txt", run.train), ("val.txt", run.val)):
        (own_photos / "splits" / name).write_text("".join(f"{photo.name}\n" for photo in listed))
    judging = choose_evaluation_photos(older(bundle, tmp_path / "older"), own_photos, "val")
    assert names(judging.photos) == names(run.val) and judging.claimed


def test_an_older_bundle_may_have_been_trained_on_the_photos(bundle: Bundle, own_photos: Path, tmp_path: Path) -> None:
    before = older(bundle, tmp_path / "older")
    judging = choose_evaluation_photos(before, own_photos, "val")
    assert not judging.claimed and "does not say which it was trained on: this is no test" in judging.remark
    read_photos(own_photos)[0].path.unlink()
    judging = choose_evaluation_photos(before, own_photos, "val")
    assert not judging.claimed and "it may have been trained on some of these" in judging.remark


def test_a_foreign_network_may_have_been_trained_on_any_photo(bundle: Bundle, photos: Path, tmp_path: Path) -> None:
    shutil.copytree(bundle.folder, tmp_path / "foreign_bundle")
    foreign = ForeignModel("foreign_bundle.keras", "0,1", "labels.txt", "cpu")
    foreign_bundle = write_bundle(tmp_path / "foreign_bundle", msgspec.structs.replace(bundle.info, foreign=foreign))
    judging = choose_evaluation_photos(foreign_bundle, photos, "val")
    assert judging.claimed and "not known; it may be these" in judging.remark


def test_verify_and_benchmark_measure_on_the_validation_photos(
    bundle: Bundle, run: Run, photos: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification, "PACKAGES", ("ai-edge-litert",))
    assert main(["verify", str(bundle.folder), "--data", str(photos)]) == 0
    output = capfd.readouterr().out
    claim = bundle.info.metrics.int8
    assert f"ok    accuracy     INT8 {claim.accuracy:.4f}" in output and f"of {len(run.val)}, 95 %" in output
    inputs = read_inputs(BenchmarkRequest(bundle.folder, None, photos, (1,), (1,), 1, 0.0, None))
    assert names(inputs.judging) == names(run.val)


def test_the_split_is_returned_only_if_all_photos_exist(bundle: Bundle, run: Run, photos: Path, own_photos: Path) -> None:
    split = listed_split(bundle, photos)
    assert split is not None and (names(split.train), names(split.val)) == (names(run.train), names(run.val))
    read_photos(own_photos)[0].path.unlink()
    assert listed_split(bundle, own_photos) is None


def test_the_photo_list_does_not_depend_on_file_names(bundle: Bundle) -> None:
    text = (bundle.folder / FILE).read_text()
    assert text == "".join(sorted(text.splitlines(keepends=True))) and text.count(" val\n") == bundle.info.metrics.int8.n
    assert "disc" not in text
