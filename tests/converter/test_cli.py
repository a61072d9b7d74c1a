"""The command line of `converter`."""

import subprocess
import sys
from pathlib import Path

import pytest

from converter.cli import main


def test_help_does_not_import_tensorflow() -> None:
    code = "import sys, converter.cli as c\ntry: c.main(['quantize', '--help'])\nexcept SystemExit: print('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert "--tolerance POINTS" in done.stdout
    assert done.stdout.splitlines()[-1] == "False"


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--tolerance", "much", "expected a number of points, found much"),
        ("--tolerance", "nan", "expected a number of points, found nan"),
        ("--calibration", "1", "expected a whole number of at least 2, found 1"),
        ("--seed", "-3", "expected a whole number of at least 0, found -3"),
    ],
)
def test_a_wrong_option_value_is_bad_usage(capsys: pytest.CaptureFixture[str], option: str, value: str, message: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["quantize", "run", "--data", "data", "--out", "out", f"{option}={value}"])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_bad_input_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], shapes_run: Path, photos: Path) -> None:
    order = ["quantize", str(shapes_run), "--data", str(photos), "--out", str(tmp_path / "out"), "--notes", str(tmp_path / "no.md")]
    assert main(order) == 2
    assert main(["quantize", str(tmp_path / "norun"), *order[2:]]) == 2
    err = capsys.readouterr().err.splitlines()
    assert [line.startswith("converter quantize: ") for line in err] == [True, True]
    assert "no.md: No such file" in err[0] and "norun: expected the folder" in err[1]


def test_a_file_instead_of_a_folder_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert main(["edgetpu", str(tmp_path / "file" / "bundle")]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"converter edgetpu: {tmp_path / 'file'}") and err.count("\n") == 1
