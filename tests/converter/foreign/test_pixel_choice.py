"""The choice of the pixel range of a foreign classifier."""

from pathlib import Path

import keras
import pytest

from converter.cli import main
from converter.common.network_error import NetworkError
from converter.common.progress import Progress
from converter.data.photos import read_photos
from converter.data.training_run import Run
from converter.foreign.foreign_model import ForeignClassifier
from converter.foreign.pixel_choice import choose_pixels
from device.vision.inference.bundle import read_bundle

LABELS = ("disc", "frame", "streifen ≡")
SIZE = 32
AS_OURS = {"-1,1": (1.0, 0.0), "0,1": (2.0, -1.0), "0,255": (1 / 127.5, -1.0)}
"""converts each range to -1..1"""


@pytest.fixture(scope="module")
def trunk(shapes_run: Path) -> keras.Model:
    return keras.models.load_model(shapes_run / "model.keras", compile=False)


def foreign_model(trunk: keras.Model, pixels: str, folder: Path, dtype: str = "float32") -> Path:
    """The trained shapes network, changed to take this pixel range."""
    image = keras.Input((SIZE, SIZE, 3), dtype=dtype)
    logits = keras.Model(trunk.input, trunk.output["logits"])(keras.layers.Rescaling(*AS_OURS[pixels])(image))
    keras.Model(image, keras.layers.Softmax()(logits)).save(folder / "theirs.keras")
    return folder / "theirs.keras"


@pytest.fixture
def run(photos: Path) -> Run:
    return Run(Path("theirs.keras"), LABELS, (), tuple(read_photos(photos)))


@pytest.mark.parametrize("pixels", list(AS_OURS))
def test_the_pixel_range_is_found(pixels: str, trunk: keras.Model, run: Run, tmp_path: Path) -> None:
    choice = choose_pixels(ForeignClassifier(foreign_model(trunk, pixels, tmp_path), len(LABELS)), None, run, 1, Progress())
    assert choice.pixels == pixels
    assert choice.text.startswith(f"pixels {pixels}: ") and "of 72 validation photos right" in choice.text


def test_a_wrong_range_is_refused_and_the_right_one_named(trunk: keras.Model, run: Run, tmp_path: Path) -> None:
    classifier = ForeignClassifier(foreign_model(trunk, "0,255", tmp_path), len(LABELS))
    with pytest.raises(NetworkError, match=r"--pixels -1,1: 0\.\d+ of 72 validation photos right, [01]\.\d+ with 0,255; name that"):
        choose_pixels(classifier, "-1,1", run, 1, Progress())
    assert choose_pixels(classifier, "0,255", run, 1, Progress()).pixels == "0,255"


def test_a_range_with_a_dash_can_be_a_separate_argument(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    order = ["quantize", str(tmp_path / "gone.keras"), "--labels", "labels.txt", "--data", str(photos), "--out", str(tmp_path / "bundle")]
    assert main([*order, "--pixels", "-1,1"]) == 2
    assert "gone.keras: No such file" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*order, "--pixels", "-1,2"])
    assert "invalid choice: '-1,2'" in capsys.readouterr().err


def test_integer_inputs_have_the_camera_range(trunk: keras.Model, run: Run, tmp_path: Path) -> None:
    classifier = ForeignClassifier(foreign_model(trunk, "0,255", tmp_path, "uint8"), len(LABELS))
    assert choose_pixels(classifier, None, run, 1, Progress()).pixels == "0,255"
    with pytest.raises(NetworkError, match="--pixels 0,1: expected 0,255, for it takes whole numbers"):
        choose_pixels(classifier, "0,1", run, 1, Progress())


def test_labels_in_another_order_are_remarked(trunk: keras.Model, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("".join(f"{label}\n" for label in (LABELS[1], LABELS[2], LABELS[0])), encoding="utf-8")
    (photos_listed := tmp_path / "photos").mkdir()
    for folder in photos.iterdir():
        (photos_listed / folder.name).symlink_to(folder)
    (photos_listed / "splits").mkdir()
    names = [photo.name for photo in read_photos(photos)]
    (photos_listed / "splits" / "train.txt").write_text("".join(f"{name}\n" for name in names[::2]), encoding="utf-8")
    (photos_listed / "splits" / "val.txt").write_text("".join(f"{name}\n" for name in names[1::2]), encoding="utf-8")
    model = foreign_model(trunk, "0,1", tmp_path)
    order = ["quantize", str(model), "--labels", str(labels), "--data", str(photos_listed), "--tolerance", "100", "--calibration", "24"]
    assert main([*order, "--pixels", "0,1", "--out", str(tmp_path / "bundle")]) == 0
    error = capsys.readouterr().err
    assert f"with labels in the order {', '.join(LABELS)}: is the file of labels in another order?" in error and error.count("\n") == 1
    bundle = read_bundle(tmp_path / "bundle")
    recorded = bundle.info.foreign
    assert (recorded.model, recorded.pixels, recorded.labels_file, recorded.target, recorded.trained_on) == (
        "theirs.keras",
        "0,1",
        "labels.txt",
        "cpu",
        "unknown",
    )
    card = (bundle.folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "Which photos it was trained on is not known." in card and "Look into this: right on " in card
    assert "converter quantize theirs.keras --labels labels.txt --pixels=0,1 --data DATA" in card
    assert "may have been trained on them" in bundle.info.metrics.data
