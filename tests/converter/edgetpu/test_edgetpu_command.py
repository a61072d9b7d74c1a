"""`converter edgetpu`, with a stand-in for Coral's compiler."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from converter.cli import main
from converter.tflite.flatbuffer import read_model
from device.vision.inference.bundle import EDGETPU_FILE, INFO_FILE, MODEL_FILE, Bundle, EdgeTpu, OperationMapping, read_bundle
from device.vision.inference.runtime import load_runtime
from tests.converter.edgetpu.conftest import ALL_MAPPED, PRINTED, table

GOOD = PRINTED.format(table=table(ALL_MAPPED))
StandIn = Callable[..., Path]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def test_the_compiled_model_is_added_with_its_mapping(
    own_bundle: Bundle, stand_in: StandIn, compiled: bytes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(own_bundle.folder)
    program = stand_in(printed=GOOD, log=table(ALL_MAPPED), leaves=compiled)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    assert main(["edgetpu", str(own_bundle.folder)]) == 0
    assert (program.parent / "asked").read_text().splitlines() == ["-s", MODEL_FILE]

    added = read_bundle(own_bundle.folder)
    info = added.info.edgetpu
    assert isinstance(info, EdgeTpu)
    assert (info.compiler, info.mapped, info.on_cpu, info.on_chip_bytes, info.off_chip_bytes) == ("16.0.384591198", 76, 0, 2516582, 0)
    assert OperationMapping("CONV_2D", 41, "Mapped to Edge TPU") in info.mapping
    after = contents(own_bundle.folder)
    assert after.keys() - before.keys() == {EDGETPU_FILE}
    assert [name for name in before if after[name] != before[name]] == [INFO_FILE]
    assert [file.name for file in own_bundle.folder.parent.iterdir()] == ["bundle"]
    out = capsys.readouterr().out
    assert "76 of 76 operations on the Edge TPU" in out and "CONV_2D                        41         Mapped to Edge TPU" in out
    assert "not as predicted" not in out


def test_removed_names_labels_and_card_are_restored(own_bundle: Bundle, stand_in: StandIn, compiled: bytes) -> None:
    assert main(["edgetpu", str(own_bundle.folder), "--compiler", str(stand_in(printed=GOOD, leaves=compiled))]) == 0
    file = own_bundle.folder / EDGETPU_FILE
    with zipfile.ZipFile(file) as archive:
        assert archive.read("labels.txt").decode().splitlines() == list(own_bundle.info.labels)
        assert archive.read("MODEL_CARD.md") == (own_bundle.folder / "MODEL_CARD.md").read_bytes()
    model, original = read_model(file), read_model(own_bundle.folder / MODEL_FILE)
    assert model.main.operators[0].custom_bytes == 200
    for name in ("logits", "embedding"):
        found, wanted = (one.main.tensors[one.signatures[0].outputs[name]] for one in (model, original))
        assert (found.name, found.shape, found.quantization) == (wanted.name, wanted.shape, wanted.quantization)


def test_the_device_says_why_it_runs_the_plain_model(own_bundle: Bundle, stand_in: StandIn, compiled: bytes) -> None:
    assert main(["edgetpu", str(own_bundle.folder), "--compiler", str(stand_in(printed=GOOD, leaves=compiled))]) == 0
    runtime = load_runtime(read_bundle(own_bundle.folder), kernels="edgetpu")
    assert runtime.model.name == MODEL_FILE
    assert "libedgetpu" in runtime.degraded


def test_the_models_folder_is_passed_to_a_container(own_bundle: Bundle, stand_in: StandIn, compiled: bytes) -> None:
    program = stand_in(printed=GOOD, leaves=compiled)
    assert main(["edgetpu", str(own_bundle.folder), "--compiler", f"'{program}' run -v {{folder}}:/model IMAGE edgetpu_compiler"]) == 0
    mounted = (program.parent / "asked").read_text().splitlines()[2]
    assert mounted.startswith(f"{own_bundle.folder.parent}/.bundle.") and mounted.endswith(":/model")


def test_compiling_again_replaces_the_compiled_model(own_bundle: Bundle, stand_in: StandIn, compiled: bytes) -> None:
    program = stand_in(printed=GOOD, leaves=compiled)
    order = ["edgetpu", str(own_bundle.folder), "--compiler", str(program)]
    assert main(order) == 0
    first = contents(own_bundle.folder)
    assert main(order) == 0
    assert contents(own_bundle.folder) == first
    (program.parent / "printed").write_text(GOOD.replace("16.0.384591198", "17.0"))
    assert main(order) == 0
    info = read_bundle(own_bundle.folder).info.edgetpu
    assert isinstance(info, EdgeTpu) and info.compiler == "17.0"


def test_a_mapping_that_differs_from_the_prediction_is_noted(
    own_bundle: Bundle, stand_in: StandIn, compiled: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = {**ALL_MAPPED, ("MEAN", "Mapped to Edge TPU"): 0, ("MEAN", "Operation version not supported"): 1}
    program = stand_in(printed=PRINTED.format(table=table(rows)), leaves=compiled)
    assert main(["edgetpu", str(own_bundle.folder), "--compiler", str(program)]) == 0
    out = capsys.readouterr().out
    assert "note: not as predicted: MEAN 1 predicted, 0 mapped" in out and "75 of 76" in out


def test_a_compiler_that_mapped_nothing_is_refused(own_bundle: Bundle, stand_in: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(own_bundle.folder.parent)
    rows = {(name, "Operation is working on an unsupported data type"): count for (name, _), count in ALL_MAPPED.items()}
    whole = (own_bundle.folder / MODEL_FILE).read_bytes()
    program = stand_in(printed=PRINTED.format(table=table(rows)), leaves=whole)
    assert main(["edgetpu", str(own_bundle.folder), "--compiler", str(program)]) == 1
    assert "mapped none of the operations" in capsys.readouterr().err
    assert contents(own_bundle.folder.parent) == before


@pytest.mark.parametrize(
    ("does", "message"),
    [
        ({"status": 1, "printed": "Compilation failed due to large activation tensors in model.\nCompilation failed!"}, "large activation tensors"),
        ({"hangs": True, "printed": "Started a compilation timeout timer"}, "was not done after 2 s and was ended; it printed: Started"),
        ({"printed": "Internal compiler error. Aborting!"}, "no table of operations; it printed: Internal compiler error"),
        ({"printed": GOOD}, "wrote no model_int8_edgetpu.tflite"),
        ({"printed": GOOD, "leaves": b"half a file"}, "model_int8_edgetpu.tflite: not a TensorFlow Lite model"),
    ],
    ids=["fails", "hangs", "breaks off", "leaves nothing", "leaves rubbish"],
)
def test_a_failing_compiler_leaves_the_bundle_unchanged(
    own_bundle: Bundle, stand_in: StandIn, capsys: pytest.CaptureFixture[str], does: dict[str, object], message: str
) -> None:
    before = contents(own_bundle.folder.parent)
    assert main(["edgetpu", str(own_bundle.folder), "--compiler", str(stand_in(**does)), "--timeout", "2"]) == 2
    err = capsys.readouterr().err
    assert message in err and err.startswith("converter edgetpu: ") and len(err.splitlines()) == 1
    assert contents(own_bundle.folder.parent) == before


def test_a_report_without_compiled_operations_is_refused(own_bundle: Bundle, stand_in: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    program = stand_in(printed=GOOD, leaves=(own_bundle.folder / MODEL_FILE).read_bytes())
    assert main(["edgetpu", str(own_bundle.folder), "--compiler", str(program)]) == 2
    assert "holds no edgetpu-custom-op" in capsys.readouterr().err
    assert read_bundle(own_bundle.folder) == own_bundle


def test_a_full_disk_leaves_the_bundle_unchanged(own_bundle: Bundle, stand_in: StandIn, compiled: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    (own_bundle.folder / EDGETPU_FILE).mkdir()  # what the new file cannot take the place of
    before = contents(own_bundle.folder.parent)
    assert main(["edgetpu", str(own_bundle.folder), "--compiler", str(stand_in(printed=GOOD, leaves=compiled))]) == 2
    assert f"{EDGETPU_FILE}: Is a directory" in capsys.readouterr().err
    assert contents(own_bundle.folder.parent) == before
    assert read_bundle(own_bundle.folder) == own_bundle


def test_without_a_compiler_prediction_and_install_commands_are_printed(
    own_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["edgetpu", str(own_bundle.folder)]) == 2
    printed = capsys.readouterr()
    assert "76 of 76 operations on the Edge TPU" in printed.out
    assert "no edgetpu_compiler on the PATH: nothing was compiled" in printed.err
    assert "sudo apt-get install edgetpu-compiler" in printed.err and f"converter edgetpu {own_bundle.folder}" in printed.err
    assert main(["edgetpu", str(own_bundle.folder), "--compiler", "nowhere/compiler -x"]) == 2
    assert main(["edgetpu", str(own_bundle.folder), "--compiler", "'unclosed"]) == 2
    err = capsys.readouterr().err
    assert "--compiler nowhere/compiler -x: no such program" in err and "--compiler 'unclosed: No closing quotation" in err
    assert read_bundle(own_bundle.folder) == own_bundle


@pytest.mark.parametrize("text", ["0", "-1", "soon", "inf"])
def test_a_bad_timeout_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["edgetpu", "bundle", f"--timeout={text}"])
    assert ended.value.code == 2
    assert f"expected a number of seconds above 0, found {text}" in capsys.readouterr().err
