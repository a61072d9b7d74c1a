import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device.vision.inference.bundle import (
    EDGETPU_FILE,
    INFO_FILE,
    LABELS_FILE,
    MODEL_FILE,
    Bundle,
    BundleError,
    BundleInfo,
    EdgeTpu,
    OperationMapping,
    default_bundle,
    digest,
    encode,
    find_bundle,
    hash_file,
    read_bundle,
    seal,
    write_bundle,
)


def resealed(bundle: Bundle, **changes: object) -> Path:
    """The bundle's folder after changes to `bundle.json`, with a matching digest."""
    (bundle.folder / INFO_FILE).write_bytes(encode(seal(msgspec.structs.replace(bundle.info, **changes))))
    return bundle.folder


def test_a_written_bundle_reads_back_equal(tiny_bundle: Bundle) -> None:
    assert read_bundle(tiny_bundle.folder) == tiny_bundle
    assert set(tiny_bundle.info.files) == {"MODEL_CARD.md", LABELS_FILE, MODEL_FILE}


def test_unicode_labels_read_back_equal(tiny_copy: Bundle) -> None:
    labels = ("可回收物_鼠标", "厨余垃圾_薯条", "有害垃圾_药片", "其他垃圾_毛巾", "Bioabfälle", "χαρτί")
    assert write_bundle(tiny_copy.folder, msgspec.structs.replace(tiny_copy.info, labels=labels)).info.labels == labels
    assert (tiny_copy.folder / LABELS_FILE).read_text(encoding="utf-8").split() == list(labels)


@pytest.mark.parametrize("name", [INFO_FILE, LABELS_FILE, MODEL_FILE, "MODEL_CARD.md"])
def test_one_changed_byte_anywhere_is_refused(tiny_copy: Bundle, name: str) -> None:
    file = tiny_copy.folder / name
    whole = file.read_bytes()
    for offset in range(0, len(whole), max(1, len(whole) // 400)):
        for bit in (0x01, 0x20):
            file.write_bytes(whole[:offset] + bytes([whole[offset] ^ bit]) + whole[offset + 1 :])
            with pytest.raises(BundleError, match=name):
                read_bundle(tiny_copy.folder)
    file.write_bytes(whole)
    assert read_bundle(tiny_copy.folder) == tiny_copy


@pytest.mark.parametrize("name", [INFO_FILE, LABELS_FILE, MODEL_FILE, "MODEL_CARD.md"])
@pytest.mark.parametrize("change", [lambda whole: whole[:-1], lambda whole: whole + b"\n", lambda whole: b""])
def test_a_truncated_or_extended_file_is_refused(tiny_copy: Bundle, name: str, change: Callable[[bytes], bytes]) -> None:
    file = tiny_copy.folder / name
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(BundleError, match=name):
        read_bundle(tiny_copy.folder)


@pytest.mark.parametrize("name", [INFO_FILE, LABELS_FILE, MODEL_FILE, "MODEL_CARD.md"])
def test_a_missing_file_is_named(tiny_copy: Bundle, name: str) -> None:
    (tiny_copy.folder / name).unlink()
    with pytest.raises(BundleError, match=rf"{name}: No such file"):
        read_bundle(tiny_copy.folder)


def test_a_folder_in_a_files_place_is_refused(tiny_copy: Bundle) -> None:
    (tiny_copy.folder / "MODEL_CARD.md").unlink()
    (tiny_copy.folder / "MODEL_CARD.md").mkdir()
    with pytest.raises(BundleError, match="Is a directory"):
        read_bundle(tiny_copy.folder)


def test_reformatted_json_is_refused(tiny_copy: Bundle) -> None:
    file = tiny_copy.folder / INFO_FILE
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8"))), encoding="utf-8")
    with pytest.raises(BundleError, match=r"bundle\.json: digest does not match"):
        read_bundle(tiny_copy.folder)


def test_unlisted_files_are_ignored(tiny_copy: Bundle) -> None:
    (tiny_copy.folder / ".DS_Store").write_bytes(b"\0")
    assert read_bundle(tiny_copy.folder) == tiny_copy


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": ()}, "labels"),
        ({"labels": ("glass", "glass", "metal", "paper", "plastic", "trash")}, "labels"),
        ({"labels": ("glass\n", "a", "metal", "paper", "plastic", "trash")}, "labels"),
        ({"labels": ("glass", "cardboard", "metal", "paper", "plastic", "trash")}, "labels.txt: not the labels"),
        ({"labels": ("glass", "metal")}, "known_answer: expected 2 logits"),
        ({"temperature": 0.0}, "temperature: expected more than 0"),
        ({"reject_below": 1.5}, "reject_below: expected 0 to 1"),
        ({"files": {}}, "files: expected labels.txt"),
    ],
)
def test_invalid_values_with_a_right_digest_are_refused(tiny_copy: Bundle, changes: dict[str, object], message: str) -> None:
    with pytest.raises(BundleError, match=message):
        read_bundle(resealed(tiny_copy, **changes))


def test_only_plain_names_in_the_same_folder_are_opened(tiny_copy: Bundle) -> None:
    outside = tiny_copy.folder.parent / "outside"
    outside.write_bytes(b"")
    files = {**tiny_copy.info.files, "../outside": hash_file(outside)}
    with pytest.raises(BundleError, match=r"\.\./outside is not the plain name"):
        read_bundle(resealed(tiny_copy, files=files))


def test_an_unknown_or_mistyped_key_is_named(tiny_copy: Bundle) -> None:
    file = tiny_copy.folder / INFO_FILE
    written = json.loads(file.read_text(encoding="utf-8"))
    for change, message in (({"licence": "x"}, "licence"), ({"temperature": "warm"}, r"\$\.temperature")):
        file.write_text(json.dumps(written | change), encoding="utf-8")
        with pytest.raises(BundleError, match=rf"bundle\.json: .*{message}"):
            read_bundle(tiny_copy.folder)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b'{"name": "\xff"}', b"[]", b"null"])
def test_a_file_that_is_no_bundle_json_is_refused(tiny_copy: Bundle, content: bytes) -> None:
    (tiny_copy.folder / INFO_FILE).write_bytes(content)
    with pytest.raises(BundleError, match=r"bundle\.json"):
        read_bundle(tiny_copy.folder)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"nowhere.*expected the folder of a bundle"):
        read_bundle(tmp_path / "nowhere")


@settings(max_examples=30)
@given(text=st.text('a é可"\\\n\u2028😀'), temperature=st.floats(0.01, 100))
def test_sealing_is_idempotent(tiny_bundle: Bundle, text: str, temperature: float) -> None:
    info: BundleInfo = msgspec.structs.replace(tiny_bundle.info, name=text, temperature=temperature)
    assert seal(seal(info)) == seal(info)
    assert digest(info) == seal(info).digest
    assert msgspec.json.decode(encode(seal(info)), type=BundleInfo) == seal(info)
    assert digest(msgspec.structs.replace(info, version="other")) != digest(info)


COMPILED = EdgeTpu(
    "16.0.384591198",
    60,
    7,
    2_400_000,
    None,
    (OperationMapping("CONV_2D", 60, "Mapped to Edge TPU"), OperationMapping("MEAN", 7, "Operation not supported")),
)


def test_an_edge_tpu_mapping_reads_back(tiny_copy: Bundle) -> None:
    (tiny_copy.folder / EDGETPU_FILE).write_bytes(b"compiled")
    written = write_bundle(tiny_copy.folder, msgspec.structs.replace(tiny_copy.info, edgetpu=COMPILED))
    assert read_bundle(tiny_copy.folder) == written
    assert written.info.edgetpu == COMPILED


def test_a_bundle_without_a_compiled_model_has_no_edgetpu_key(tiny_copy: Bundle) -> None:
    assert b"edgetpu" not in (tiny_copy.folder / INFO_FILE).read_bytes()
    assert tiny_copy.info.edgetpu is msgspec.UNSET


def test_an_edge_tpu_mapping_without_its_model_is_refused(tiny_copy: Bundle) -> None:
    with pytest.raises(BundleError, match=f"edgetpu: describes {EDGETPU_FILE}, and files does not list it"):
        read_bundle(resealed(tiny_copy, edgetpu=COMPILED))


def test_bundles_from_before_mappings_stay_valid() -> None:
    bundle = read_bundle(default_bundle())
    assert (bundle.folder / INFO_FILE).read_bytes() == encode(seal(bundle.info))


def test_the_model_card_covers_items_of_unknown_labels() -> None:
    bundle = read_bundle(default_bundle())
    with zipfile.ZipFile(bundle.model) as packed:
        cards = [(bundle.folder / "MODEL_CARD.md").read_text(encoding="utf-8"), packed.read("MODEL_CARD.md").decode()]
    for card in cards:
        assert f"a score above {bundle.info.unknown_above:g} by `known.npz`" in card


def test_the_default_bundle_lies_inside_the_package() -> None:
    assert default_bundle().parent.name == "models"
    assert default_bundle().parent.parent.name == "device"


def test_shipped_bundles_are_found_by_name_others_by_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_bundle("trashnet") == default_bundle()
    assert read_bundle(find_bundle("trashnet")).info.name == "trashnet"
    assert find_bundle("nowhere") == Path("nowhere") and find_bundle("my/trashnet") == Path("my/trashnet")
    (tmp_path / "trashnet").mkdir()
    assert find_bundle("trashnet") == default_bundle(), "a shipped bundle's name comes before a folder of that name"
    with pytest.raises(BundleError, match=r"nowhere.*or the name of one that Sortbin comes with \(.*\btrashnet\b.*\)"):
        read_bundle(find_bundle("nowhere"))
