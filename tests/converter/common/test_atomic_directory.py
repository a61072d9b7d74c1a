"""Output folders appear whole or not at all."""

from pathlib import Path

import pytest

from converter.common.atomic_directory import OutputError, atomic_directory


def test_a_folder_appears_when_everything_was_written(tmp_path: Path) -> None:
    with atomic_directory(tmp_path / "deep" / "bundle") as folder:
        (folder / "file").write_text("whole")
        assert not (tmp_path / "deep" / "bundle").exists()
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == ["deep", "deep/bundle", "deep/bundle/file"]


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), RuntimeError("broken"), OutputError("refused")])
def test_nothing_is_left_when_writing_fails(tmp_path: Path, failure: BaseException) -> None:
    with pytest.raises(type(failure)), atomic_directory(tmp_path / "bundle") as folder:
        (folder / "file").write_text("half")
        raise failure
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_line_about_the_file(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"model: No space left on device"), atomic_directory(tmp_path / "bundle") as folder:
        raise OSError(28, "No space left on device", str(folder / "model"))
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_is_taken_or_no_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for taken in ("file", "dangling"):
        with pytest.raises(OutputError, match=f"{taken}: exists already"), atomic_directory(tmp_path / taken):
            pytest.fail("the block must not run")
    with pytest.raises(OutputError, match="file"), atomic_directory(tmp_path / "file" / "bundle"):
        pytest.fail("the block must not run")
    assert (tmp_path / "file").read_text() == "kept"
