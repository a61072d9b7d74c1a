"""Output folders are written as a whole or not at all."""

from pathlib import Path

import pytest

from converter.common.atomic_directory import OutputError, atomic_directory


def test_the_folder_exists_only_after_the_block(tmp_path: Path) -> None:
    with atomic_directory(tmp_path / "deep" / "bundle") as folder:
        (folder / "file").write_text("whole")
        assert not (tmp_path / "deep" / "bundle").exists()
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == ["deep", "deep/bundle", "deep/bundle/file"]


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), RuntimeError("broken"), OutputError("refused")])
def test_a_failure_leaves_nothing(tmp_path: Path, failure: BaseException) -> None:
    with pytest.raises(type(failure)), atomic_directory(tmp_path / "bundle") as folder:
        (folder / "file").write_text("half")
        raise failure
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"model: No space left on device"), atomic_directory(tmp_path / "bundle") as folder:
        raise OSError(28, "No space left on device", str(folder / "model"))
    assert list(tmp_path.iterdir()) == []


def test_an_existing_path_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for taken in ("file", "dangling"):
        with pytest.raises(OutputError, match=f"{taken}: exists already"), atomic_directory(tmp_path / taken):
            pytest.fail("the block must not run")
    with pytest.raises(OutputError, match="file"), atomic_directory(tmp_path / "file" / "bundle"):
        pytest.fail("the block must not run")
    assert (tmp_path / "file").read_text() == "kept"
