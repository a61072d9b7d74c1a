from pathlib import Path

import pytest

from device.daemon.system_metrics import cpu_temperature_c, resident_mib, throttled


def test_the_temperature_is_that_of_the_hottest_readable_zone(tmp_path: Path) -> None:
    assert cpu_temperature_c(tmp_path) is None
    for zone, text in enumerate(["41000", "57250", "broken"]):
        (tmp_path / f"thermal_zone{zone}").mkdir()
        (tmp_path / f"thermal_zone{zone}" / "temp").write_text(text)
    assert cpu_temperature_c(tmp_path) == 57.25


@pytest.mark.parametrize(("text", "is_throttled"), [("0", False), ("50000", False), ("50005", True), ("4", True), ("", None)])
def test_only_the_present_state_counts_as_throttled(text: str, is_throttled: bool | None, tmp_path: Path) -> None:
    file = tmp_path / "get_throttled"
    file.write_text(text)
    assert throttled(file) is is_throttled


def test_resident_memory_is_plausible() -> None:
    assert 5 < resident_mib() < 4000
