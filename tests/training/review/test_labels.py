"""A label may be any word of any script that can name a folder."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.review.labels import FolderLabelError, checked, same_but_for_case


@pytest.mark.parametrize("label", ["glass", "干净的纸", "Altpapier (weiß)", "قارورة", "1.5 l", "a, b", "🍾"])
def test_words_of_any_script_are_taken_as_they_are(label: str) -> None:
    assert checked(label) == label


def test_the_same_word_typed_on_another_system_is_the_same_label() -> None:
    assert checked("  Cafe\u0301 ") == checked("Caf\u00e9") == "Caf\u00e9"


@pytest.mark.parametrize("label", ["", "   ", ".", "..", ".hidden", "a/b", "a\\b", "/etc", "a\nb", "a\0b", "splits", "\u200b", "纸" * 67])
def test_what_cannot_name_a_folder_is_refused_in_one_line(label: str) -> None:
    with pytest.raises(FolderLabelError) as refused:
        checked(label)
    assert str(refused.value).splitlines() == [str(refused.value)]


@settings(max_examples=200)
@given(st.text())
def test_what_is_taken_stays_in_its_folder_and_is_taken_again(text: str) -> None:
    try:
        label = checked(text)
    except FolderLabelError:
        return
    assert Path("/data", label).parent == Path("/data")
    assert Path("/data", label).resolve() == Path("/data", label)
    assert checked(label) == label


def test_a_label_that_differs_only_in_case_is_found() -> None:
    assert same_but_for_case("paper", ["glass", "Paper"]) == "Paper"
    assert same_but_for_case("paper", ["glass", "paper"]) is None
