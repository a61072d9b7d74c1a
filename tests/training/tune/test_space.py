"""Search spaces: what they may sample, and the recipes they make."""

from pathlib import Path

import msgspec
import pytest

from training.fit.recipe import TrainingRecipe
from training.tune.space import SpaceError, read_space, recipe_toml

SPACES = Path(__file__).parents[3] / "config" / "spaces"
SPACE = """
[recipe]
backbone = "scratch_cnn"
first_phase = false
[[recipe.stage]]
size = 32
epochs = 2
learning_rate = 1e-3
[sample."stage.0.learning_rate"]
low = 1e-4
high = 1e-2
log = true
[sample."scratch.features"]
choices = [4, 8]
[sample.dense]
choices = [[], [16]]
"""


def written(folder: Path, text: str) -> Path:
    file = folder / "space.toml"
    file.write_text(text)
    return file


def test_sampled_values_land_at_their_place_in_the_recipe(tmp_path: Path) -> None:
    space = read_space(written(tmp_path, SPACE))
    recipe = space.recipe({"stage.0.learning_rate": 0.004, "scratch.features": 8, "dense": "[16]"})
    assert (recipe.stage[0].learning_rate, recipe.scratch.features, recipe.dense) == (0.004, 8, (16,))
    assert space.base.stage[0].learning_rate == 1e-3, "the common part stays as it was"


def test_a_trial_written_as_toml_reads_back_as_the_same_recipe(tmp_path: Path) -> None:
    space = read_space(written(tmp_path, SPACE))
    sampled = {"stage.0.learning_rate": 1e-05, "scratch.features": 4, "dense": "[]"}
    assert msgspec.toml.decode(recipe_toml(space.table(sampled)), type=TrainingRecipe) == space.recipe(sampled)


@pytest.mark.parametrize(("name", "sampled"), [("scratch-cnn", 8), ("fine-tuning", 8), ("width", 2)])
def test_shipped_spaces_sample_valid_recipes(name: str, sampled: int) -> None:
    space = read_space(SPACES / f"{name}.toml")
    assert len(space.sample) == sampled
    assert space.epochs() == space.base.stage[0].epochs


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (SPACE.replace("scratch.features", "scratch.featurs"), "sample.scratch.featurs"),
        (SPACE.replace("stage.0.learning_rate", "stage.1.learning_rate"), "no such place"),
        (SPACE.replace("\nlearning_rate", "\nrate"), "recipe.stage[0].rate: this key is called learning_rate now; write learning_rate = 0.001"),
        (SPACE.replace("stage.0.learning_rate", "stage.0.rate"), 'now; write [sample."stage.0.learning_rate"]'),
        (SPACE.replace("sample.dense", "sample.head_decay"), 'sample.head_decay: this key is called head_C now; write [sample."head_C"]'),
        (SPACE.replace("[4, 8]", "[4, 8000]"), "8000 cannot be used"),
        (SPACE.replace("low = 1e-4", "low = 1.0"), "low below high"),
        (SPACE.replace("low = 1e-4", "low = 0.0"), "more than 0"),
        (SPACE.replace("[4, 8]", "[4]"), "sample.scratch.features"),
        (SPACE.replace("size = 32", "size = 3"), "stage"),
        (SPACE.replace("[[recipe.stage]]", "[recipe.scratch]").split("size")[0], "sample"),
        (SPACE.partition("[sample")[0] + "[sample]", "at least one"),
    ],
)
def test_a_wrong_space_is_refused_with_its_file_and_key(tmp_path: Path, wrong: str, told: str) -> None:
    with pytest.raises(SpaceError, match=r"space\.toml") as refused:
        read_space(written(tmp_path, wrong))
    assert told in str(refused.value)


def test_a_space_may_have_a_byte_order_mark_but_must_be_utf_8(tmp_path: Path) -> None:
    file = tmp_path / "space.toml"
    file.write_bytes(b"\xef\xbb\xbf" + SPACE.encode())
    assert read_space(file) == read_space(written(tmp_path, SPACE))
    file.write_bytes(b'[recipe]\nbackbone = "\xe9"\n')
    with pytest.raises(SpaceError, match=r"space\.toml: expected UTF-8 text"):
        read_space(file)
