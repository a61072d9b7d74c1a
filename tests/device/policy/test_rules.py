"""Rule packs: what is read, and one line for each mistake."""

import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.policy.rules import RulesError, default_pack, default_rules, find_rules, read_rules

TRASHNET = ("cardboard", "glass", "metal", "paper", "plastic", "trash")
ITEMS = ("可回收物_鼠标", "可回收物_毛绒玩具", "厨余垃圾_薯条", "有害垃圾_药片", "其他垃圾_毛巾")

PACK = """
name = "site"
version = "3"
residual = "rest"
[bins.dry]
title = "Trocken"
labels = ["paper", "metal"]
[bins.rest]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "site.toml"


def test_shipped_packs_fit_their_labels() -> None:
    trashnet = read_rules(default_rules(), TRASHNET)
    assert {label: trashnet.bin_of(label) for label in TRASHNET} == {
        "cardboard": "paper",
        "glass": "glass",
        "metal": "metal",
        "paper": "paper",
        "plastic": "plastic",
        "trash": "trash",
    }
    recyclable = read_rules(find_rules("recyclable"), TRASHNET)
    assert [label for label in TRASHNET if recyclable.bin_of(label) == "other"] == ["trash"]
    four = read_rules(find_rules("four-bins"), ITEMS)
    assert [four.bin_of(label) for label in ITEMS] == ["recyclable", "recyclable", "kitchen", "hazardous", "other"]
    assert four.hazards == {"有害垃圾_药片"}
    assert (four.hazard.into, four.hazard.above) == ("hazardous", 0.1)
    assert four.bins["kitchen"] == "厨余垃圾"


def test_patterns_may_match_no_label() -> None:
    assert read_rules(find_rules("four-bins"), ITEMS[:1]).hazards == frozenset()


def test_an_unusable_path_is_named(tmp_path: Path) -> None:
    path = str(tmp_path / ("x" * 300))
    with pytest.raises(RulesError, match=rf"^{path}: File name too long; expected the file of a rule pack$"):
        find_rules(path)


def test_a_byte_order_mark_is_ignored(file: Path) -> None:
    file.write_text(PACK, encoding="utf-8-sig")
    assert read_rules(file, ("metal", "paper")).name == "site"


def test_keys_are_read_and_titles_default_to_names(file: Path) -> None:
    file.write_text(PACK, encoding="utf-8")
    pack = read_rules(file, ("metal", "paper"))
    assert (pack.name, pack.version, pack.residual) == ("site", "3", "rest")
    assert dict(pack.bins) == {"dry": "Trocken", "rest": "rest"}


def test_costs_of_pairs_override_the_general_ones(file: Path) -> None:
    file.write_text(PACK + '[bins.wet]\nlabels=["food"]\n[cost]\nwrong = 2\nresidual = 0.5\n[cost.belongs_in.wet]\ndry = 9\n', encoding="utf-8")
    pack = read_rules(file, ("paper", "metal", "food"))
    assert pack.cost("wet", "dry") == 9
    assert pack.cost("dry", "wet") == pack.cost("rest", "wet") == 2
    assert pack.cost("dry", "rest") == pack.cost("wet", "rest") == 0.5
    assert [pack.cost(name, name) for name in pack.bins] == [0, 0, 0]


def test_a_full_label_goes_before_a_pattern(file: Path) -> None:
    text = find_rules("four-bins").read_text(encoding="utf-8").replace('["其他垃圾_*"]', '["其他垃圾_*", "可回收物_毛绒玩具"]')
    file.write_text(text, encoding="utf-8")
    pack = read_rules(file, ITEMS)
    assert (pack.bin_of("可回收物_毛绒玩具"), pack.bin_of("可回收物_鼠标")) == ("other", "recyclable")


def test_composed_and_decomposed_spellings_are_one_label(file: Path) -> None:
    file.write_text(PACK.replace('"metal"', '"Bioabf\u00e4lle", "K\u00e4se_*"'), encoding="utf-8")
    pack = read_rules(file, ("paper", "Bioabfa\u0308lle", "Ka\u0308se_Rinde"))
    assert pack.bin_of("Bioabfa\u0308lle") == pack.bin_of("Ka\u0308se_Rinde") == "dry"


def test_a_taught_label_may_be_named_in_advance(file: Path) -> None:
    file.write_text('taught = ["zinc"]\n' + PACK.replace('"metal"', '"metal", "zinc"'), encoding="utf-8")
    assert read_rules(file, ("paper", "metal")).bin_of("metal") == read_rules(file, ("paper", "metal", "zinc")).bin_of("zinc") == "dry"


def test_hazards_without_a_label_yet_are_listed(file: Path) -> None:
    file.write_text('taught = ["battery"]\nhazards = ["battery"]\n' + PACK.replace('"metal"', '"metal", "battery"'), encoding="utf-8")
    pack = read_rules(file, ("paper", "metal"))
    assert pack.hazards == {"battery"}
    assert (pack.hazard.into, pack.hazards_without_label(("paper", "metal"))) == ("", ["battery"])
    assert pack.hazards_without_label(("paper", "metal", "battery")) == []


def test_labels_not_in_use_may_be_named_and_need_no_bin(file: Path) -> None:
    file.write_text(PACK, encoding="utf-8")
    assert read_rules(file, ("metal",), ("paper", "glass")).bin_of("metal") == "dry"


def test_an_unknown_label_is_named_with_file_bin_and_choices(file: Path) -> None:
    file.write_text(PACK.replace('"metal"', '"metall"'), encoding="utf-8")
    with pytest.raises(RulesError, match=r"site\.toml: bins\.dry\.labels: unknown label metall; expected one of paper, metal$"):
        read_rules(file, ("paper", "metal"))


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        ('[bins.metal]\ntitel = "Metall"\n', "bins.metal: unknown key titel"),
        ("[bins.metal]\nlabels = [3]\n", "bins.metal.labels[0]: expected text, found a whole number"),
        ('[cost.belongs_in]\nmetal = { rest = "much" }\n', "cost.belongs_in.metal.rest: expected a number, found text"),
    ],
)
def test_a_mistake_names_its_table(mistake: str, said: str, file: Path) -> None:
    file.write_text('name = "site"\nversion = "1"\nresidual = "rest"\n[bins.rest]\ntitle = "Rest"\n' + mistake, encoding="utf-8")
    with pytest.raises(RulesError) as caught:
        read_rules(file, ("metal",))
    assert str(caught.value) == f"{file}: {said}"


def test_a_label_without_a_bin_is_named(file: Path) -> None:
    file.write_text(PACK, encoding="utf-8")
    with pytest.raises(RulesError, match=r"site\.toml: bins: no bin for the label glass"):
        read_rules(file, ("paper", "metal", "glass"))


@given(st.lists(st.text(min_size=1, max_size=8).filter(lambda label: unicodedata.normalize("NFC", label) not in TRASHNET), unique=True))
def test_the_default_pack_gives_every_label_a_bin(labels: list[str]) -> None:
    pack = default_pack((*labels, "cardboard"))
    assert pack.bin_of("cardboard") == "paper"
    assert [pack.bin_of(label) for label in labels] == labels
    assert all(pack.cost(label, "glass") == 1 and pack.cost(label, label) == 0 for label in labels)
    assert tuple(pack.bins) == (*read_rules(default_rules(), TRASHNET).bins, *labels)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "site"', "", "missing key name"),
        ('version = "3"', "version = 3", "version: expected text, found a whole number"),
        ('version = "3"', 'version = "3"\nlanguage = "de"', "unknown key language"),
        ('title = "Trocken"', 'colour = "red"', "bins.*unknown key colour"),
        ('residual = "rest"', 'residual = "trash"', r"residual: expected one of the bins \(dry, rest\), got trash"),
        ('residual = "rest"', 'residual = "rest"\nhazards = ["battery"]', "hazards: unknown label battery"),
        ('residual = "rest"', 'residual = "rest"\nseveral = "paper"', "several: expected least_cost or residual, found 'paper'"),
        ("[bins.dry]", "[hazard]\nabove = 0.2\n[bins.dry]", "hazard: of which labels?"),
        ("[bins.dry]", 'hazards = ["metal"]\n[hazard]\ninto = "red"\n[bins.dry]', r"hazard\.into: expected one of the bins \(dry, rest\), got red"),
        ("[bins.dry]", 'hazards = ["metal"]\n[hazard]\nabove = 1.5\n[bins.dry]', r"hazard\.above: expected a number below 1"),
        ("[bins.dry]", 'hazards = ["metal"]\n[hazard]\nabove = 0\n[bins.dry]', r"hazard\.above: expected a number above 0"),
        ("[bins.dry]", 'hazards = ["metal"]\n[hazard]\nbeyond = 0.2\n[bins.dry]', "hazard: unknown key beyond"),
        ("[bins.dry]", '[bins."dry waste"]', "bins.dry waste: expected a name of a-z"),
        ("[bins.dry]", '[bins."dry/waste"]', "bins.dry/waste: expected a name of a-z"),
        ("[bins.rest]", '[bins.rest]\nlabels = ["metal"]', r"bins\.rest\.labels: metal is in bins\.dry too"),
        ("[bins.rest]", '[bins.rest]\nlabels = ["m*", "pa*"]\n[bins.x]\nlabels = ["p*"]', r"bins\.x\.labels: paper is in bins\.rest too"),
        ('"metal"', '"*"', r"bins\.dry\.labels: expected a label, or the beginning of labels"),
        ('"metal"', '"m*l"', r"bins\.dry\.labels: expected a label, or the beginning of labels"),
        ("[bins.rest]", "[bins.rest]\n[cost]\nwrong = -1", r"cost\.wrong: expected more than 0, got -1"),
        ("[bins.rest]", "[bins.rest]\n[cost]\nresidual = 0", r"cost\.residual: expected more than 0, got 0"),
        ("[bins.rest]", "[bins.rest]\n[cost.belongs_in.dry]\nrest = 0", r"cost\.belongs_in\.dry\.rest: expected more than 0, got 0"),
        ("[bins.rest]", "[bins.rest]\n[cost]\nwrong = inf", r"cost\.wrong: expected more than 0, got inf"),
        ("[bins.rest]", "[bins.rest]\n[cost]\nwrong = nan", r"cost\.wrong: expected more than 0, got nan"),
        (
            "[bins.rest]",
            "[bins.rest]\n[cost.belongs_in.dry]\nwet = 1",
            r"cost\.belongs_in\.dry\.wet: expected two different bins of dry, rest",
        ),
        ("[bins.rest]", "[bins.rest]\n[cost.belongs_in.dry]\ndry = 1", r"cost\.belongs_in\.dry\.dry: expected two different bins"),
        ("[bins.rest]", "[bins.rest", r"at line 8"),
    ],
)
def test_a_mistake_is_one_line_with_file_and_key(file: Path, old: str, new: str, message: str) -> None:
    text = PACK.replace(old, new)
    assert text != PACK
    file.write_text(text, encoding="utf-8")
    with pytest.raises(RulesError, match=message) as raised:
        read_rules(file, ("paper", "metal"))
    assert str(raised.value).startswith(f"{file}: ")
    assert "\n" not in str(raised.value)


def test_missing_files_and_non_text_are_refused(file: Path) -> None:
    with pytest.raises(RulesError, match="No such file"):
        read_rules(file, ("paper",))
    file.write_bytes(b"name = '\xff'")
    with pytest.raises(RulesError, match=r"site\.toml: "):
        read_rules(file, ("paper",))
    with pytest.raises(RulesError, match="Is a directory"):
        read_rules(file.parent, ("paper",))


def test_packs_are_found_by_path_or_by_name(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text(PACK, encoding="utf-8")
    assert find_rules(str(file)) == file
    monkeypatch.chdir(file.parent)
    assert find_rules("site.toml") == Path("site.toml")
    assert find_rules("four-bins").name == "four-bins.toml"
    with pytest.raises(RulesError, match=r"nowhere: expected the file of a rule pack, .*\(four-bins, recyclable, trashnet\)"):
        find_rules("nowhere")
    with pytest.raises(RulesError, match="expected the file of a rule pack"):
        find_rules(os.fspath(file.parent))
