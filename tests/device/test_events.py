import json
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device.events import AnyEvent, Event, Started, decode, encode

KINDS = get_args(AnyEvent)
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
FLOAT = st.floats(allow_nan=False, allow_infinity=False)


def values(kind: Any) -> st.SearchStrategy[Any]:
    if kind is str:
        return TEXT
    if kind is float:
        return FLOAT
    if kind == float | None:
        return st.none() | FLOAT
    if kind == dict[str, float]:
        return st.dictionaries(TEXT, FLOAT, max_size=6)
    if kind == dict[str, str | int | float | bool]:
        return st.dictionaries(TEXT, TEXT | st.integers(-(2**63), 2**63 - 1) | FLOAT | st.booleans(), max_size=6)
    return st.from_type(kind)


def events() -> st.SearchStrategy[Any]:
    return st.one_of(st.builds(kind, **{field.name: values(field.type) for field in msgspec.structs.fields(kind)}) for kind in KINDS)


@settings(max_examples=100)
@given(events())
def test_an_event_comes_back_from_its_json_as_it_was(event: Any) -> None:
    assert decode(encode(event)) == event


@settings(max_examples=50)
@given(events())
def test_the_json_says_everything_the_event_says_and_its_type_first(event: Any) -> None:
    told = json.loads(encode(event))
    assert next(iter(told)) == "type"
    assert set(told) == {"type", *(field.name for field in msgspec.structs.fields(type(event)))}


def test_an_event_from_a_newer_version_with_more_to_say_is_still_understood() -> None:
    event = Started(version="0.1.0", bundle="b", runtime="r", restarts=0)
    told = {**json.loads(encode(event)), "colour": "green"}
    assert decode(json.dumps(told).encode()) == event


@pytest.mark.parametrize("data", [b"", b"{}", b"null", b'{"type":"no_such_event"}', b'{"type":"started"}', b'{"type":"jam","item":1}'])
def test_what_is_no_event_is_refused(data: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        decode(data)


def test_every_kind_of_event_has_a_type_name_of_its_own_that_stays() -> None:
    names = {kind.__struct_config__.tag for kind in KINDS}
    assert {"item_sorted", "item_rejected", "item_interrupted", "jam", "fault", "cleared", "started"} <= names
    assert len(names) == len(KINDS)
    assert all(issubclass(kind, Event) for kind in KINDS)
