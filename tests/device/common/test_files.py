import os
from pathlib import Path

import pytest

from device.common.files import replacing, replacing_durably, write_durably


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file with content, alone in its folder."""
    file = tmp_path / "numbers.txt"
    file.write_text("old")
    return file


def alone_with(file: Path, content: str) -> bool:
    return list(file.parent.iterdir()) == [file] and file.read_text(encoding="utf-8") == content


@pytest.mark.parametrize("replace", [replacing, replacing_durably])
def test_the_old_file_stays_until_the_new_one_is_whole(file: Path, replace) -> None:  # type: ignore[no-untyped-def]
    with replace(file) as new:
        new.write_text("new")
        assert file.read_text() == "old"
    assert alone_with(file, "new")


@pytest.mark.parametrize("replace", [replacing, replacing_durably])
@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_an_error_leaves_the_old_file_and_nothing_beside_it(file: Path, replace, error: type[BaseException]) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(error), replace(file) as new:
        new.write_text("ne")
        raise error
    assert alone_with(file, "old")


def test_the_path_to_write_to_is_hidden_beside_the_file(file: Path) -> None:
    with replacing(file) as new:
        assert new.parent == file.parent
        assert new.name.startswith(".") and new.suffix == ".new"
        new.touch()


def test_a_killed_process_leaves_the_old_file(file: Path) -> None:
    child = os.fork()
    if child == 0:
        with replacing_durably(file) as new:
            new.write_text("ne")
            os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert file.read_text() == "old"


def test_content_is_synced_before_the_rename_and_the_folder_after_it(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[tuple[str, str]] = []
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        fsync(descriptor)
        synced.append((Path(f"/proc/self/fd/{descriptor}").readlink().suffix, file.read_text()))

    monkeypatch.setattr(os, "fsync", watched)
    write_durably(file, "new")
    assert synced == [(".new", "old"), ("", "new")]


@pytest.mark.parametrize("content", ["caf\u00e9\r\n", "caf\u00e9\r\n".encode()])
def test_text_is_written_as_utf_8_and_bytes_as_they_are(file: Path, content: str | bytes) -> None:
    write_durably(file, content)
    assert file.read_bytes() == "caf\u00e9\r\n".encode()
    assert list(file.parent.iterdir()) == [file]


def test_a_folder_in_the_way_is_an_error_and_nothing_stays_beside_it(tmp_path: Path) -> None:
    (tmp_path / "numbers.txt").mkdir()
    with pytest.raises(IsADirectoryError):
        write_durably(tmp_path / "numbers.txt", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["numbers.txt"]
