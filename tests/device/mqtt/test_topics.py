import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paho.mqtt.client import topic_matches_sub

from device.mqtt.topics import TopicError, Topics


def test_topics_are_named_as_documented() -> None:
    topics = Topics("bin-1_a")
    named = [topics.availability, topics.info, topics.state, topics.health, topics.event, topics.journal, topics.bin("paper")]
    assert named == [f"sortbin/bin-1_a/{name}" for name in ("availability", "info", "state", "health", "event", "journal", "bin/paper")]


def test_the_base_may_have_levels() -> None:
    assert Topics("b", "site/floor2").state == "site/floor2/b/state"


@pytest.mark.parametrize("device", ["", "Bin", "a b", "a/b", "+", "#", "bin\n", "bün"])
def test_an_invalid_device_id_is_refused(device: str) -> None:
    with pytest.raises(TopicError, match="device id"):
        Topics(device)


@pytest.mark.parametrize("base", ["", "/", "a/", "a//b", "a/+", "#", "$SYS", "a\0", "a\x1f"])
def test_an_invalid_base_is_refused(base: str) -> None:
    with pytest.raises(TopicError, match=r"mqtt\.base"):
        Topics("bin1", base)


@settings(max_examples=100)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_an_invalid_bin_name_is_refused(name: str) -> None:
    try:
        topic = Topics("bin1").bin(name)
    except TopicError:
        assert name == "" or set(name) & set("/+#") or any(unicodedata.category(letter) in ("Cc", "Cn") for letter in name)
        return
    assert topic == f"sortbin/bin1/bin/{name}"
    assert topic_matches_sub("sortbin/+/bin/+", topic)


def test_bins_may_have_names_in_any_script() -> None:
    assert Topics("bin1").bin("可回收物") == "sortbin/bin1/bin/可回收物"
