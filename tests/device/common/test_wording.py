"""Numbers and lists as text."""

import pytest

from device.common.wording import alternatives, byte_size, counted, fixed_point, listed


@pytest.mark.parametrize(("count", "text"), [(0, "0 groups"), (1, "1 group"), (2, "2 groups")])
def test_only_one_is_singular(count: int, text: str) -> None:
    assert counted(count, "group") == text


def test_a_long_list_is_cut_and_its_rest_counted() -> None:
    assert listed([1, 2, 3], 3) == "1, 2, 3"
    assert listed([1, 2, 3, 4, 5], 3) == "1, 2, 3 and 2 more"
    assert listed([], 3) == ""


@pytest.mark.parametrize(("choices", "text"), [([], ""), (["red"], "red"), (["red", "blue"], "red or blue"), (["a", "b", "c"], "a, b or c")])
def test_the_last_alternative_follows_an_or(choices: list[str], text: str) -> None:
    assert alternatives(choices) == text


def test_a_missing_number_has_a_text_of_its_own() -> None:
    assert (fixed_point(0.5), fixed_point(0.5, 2), fixed_point(None), fixed_point(None, missing="none")) == ("0.5000", "0.50", "", "none")


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1024, "1.00 KiB"), (1024**2 - 1, "1024.00 KiB"), (8346664, "7.96 MiB")])
def test_bytes_take_the_largest_unit_that_fits(count: int, text: str) -> None:
    assert byte_size(count) == text
