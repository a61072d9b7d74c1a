from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device.ledger.sequence_reservation import BLOCK, SequenceFile


@settings(max_examples=10)
@given(st.lists(st.integers(1, 3 * BLOCK), max_size=4))
def test_every_number_is_reserved_on_disk_before_use(tmp_path_factory: pytest.TempPathFactory, lengths: list[int]) -> None:
    file = tmp_path_factory.mktemp("numbers") / "ledger.seq"
    numbering, given_out = SequenceFile(file), 0
    for length in lengths:
        numbering.reserve(given_out + 1, given_out + length)
        given_out += length
        assert SequenceFile(file).reserved >= given_out
        assert SequenceFile(file).reserved - given_out <= max(BLOCK, length)


def test_the_file_is_written_once_a_block(tmp_path: Path) -> None:
    numbering = SequenceFile(tmp_path / "ledger.seq")
    raised = [seq for seq in range(1, 3 * BLOCK + 1) if numbering.reserve(seq, seq)]
    assert raised == [1, BLOCK + 1, 2 * BLOCK + 1]


@pytest.mark.parametrize("content", [b"", b"x", b"-5", b"\xff\xfe", b"12 13"])
def test_a_file_without_a_number_counts_as_unknown(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "ledger.seq"
    file.write_bytes(content)
    assert SequenceFile(file).reserved == 0
