"""`training render` as a user meets it: mistakes are one line, and without Blender it names what to install."""

import sys

import pytest

from training import cli


def said(capsys, *arguments):
    status = 0
    try:
        status = cli.main(["render", *map(str, arguments)])
    except SystemExit as ended:
        status = ended.code
    return status, capsys.readouterr()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("places", "--out", "x"), "--count"),
        (("places", "--out", "x", "--count", "0"), "--count: expected a whole number of at least 1, found 0"),
        (("places", "--out", "x", "--count", "5", "--size", "320"), "--size: expected WIDTHxHEIGHT in pixels"),
        (("places", "--out", "x", "--count", "5", "--size", "8x8"), "--size: expected WIDTHxHEIGHT in pixels"),
        (("places", "--out", "x", "--count", "5", "--detail", "none"), "--detail: expected a number from 0.1 to 1"),
        (("places", "--out", "x", "--count", "5", "--cut-off", "2"), "--cut-off: expected a number from 0 to 1"),
        (("bench",), "--out"),
        ((), "WHAT"),
    ],
)
def test_a_wrong_option_is_named_with_what_was_expected(capsys, arguments, named):
    status, output = said(capsys, *arguments)
    assert status == 2
    assert named in output.err.splitlines()[-1]


def test_without_blender_one_line_names_the_extra(capsys, monkeypatch, tmp_path):
    for module in [name for name in sys.modules if name.startswith("training.render")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "bpy", None)  # as where it is not installed
    status, output = said(capsys, "places", "--out", tmp_path / "out", "--count", 3)
    assert status == 2
    assert output.err.count("\n") == 1 and "sortbin[render]" in output.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("what", ["places", "bench"])
def test_help_says_what_it_writes_and_that_it_goes_on(capsys, what):
    status, output = said(capsys, what, "--help")
    assert status == 0
    assert "goes on where it was stopped" in " ".join(output.out.split())
