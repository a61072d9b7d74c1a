"""The signal of the Wi-Fi that leads to the broker, from tables as Linux prints them."""

from pathlib import Path

import pytest

from device.daemon.network_metrics import wifi_dbm

ROUTE = """Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
wlan0\t00000000\t0102A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0
eth0\t0000000A\t00000000\t0001\t0\t0\t100\t000000FF\t0\t0\t0
wlan0\t0002A8C0\t00000000\t0001\t0\t0\t600\t00FFFFFF\t0\t0\t0
"""
INET6 = """fe80000000000000ba27ebfffe000001 03 40 20 80    wlan0
fd000000000000000000000000000007 02 40 00 80     eth0
"""
WIRELESS = """Inter-| sta-|   Quality        |   Discarded packets               | Missed | WE
 face | tus | link level noise |  nwid  crypt   frag  retry   misc | beacon | 22
 wlan0: 0000   54.  -56.  -256        0      0      0      0      0        0
"""


@pytest.fixture
def net(tmp_path: Path) -> Path:
    for name, text in (("route", ROUTE), ("if_inet6", INET6), ("wireless", WIRELESS)):
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("own", "broker", "dbm"),
    [
        ("192.168.2.7", "192.168.2.9", -56.0),
        ("192.168.2.7", "203.0.113.5", -56.0),
        ("10.0.0.7", "10.0.0.9", None),
        ("fe80::ba27:ebff:fe00:1", "fe80::1", -56.0),
        ("fd00::7", "fd00::9", None),
        ("", "", None),
        ("fe80::ba27:ebff:fe00:1%wlan0", "fe80::1%wlan0", -56.0),
    ],
)
def test_the_signal_is_that_of_the_way_to_the_broker(own: str, broker: str, dbm: float | None, net: Path) -> None:
    assert wifi_dbm(own, broker, net) == dbm


@pytest.mark.parametrize("text", ["", "head\nhead\n wlan0: 0000", "head\nhead\n wlan0: 0000 0. 0. 0.", None])
def test_without_a_reading_there_is_no_signal(text: str | None, net: Path) -> None:
    (net / "wireless").unlink()
    if text is not None:
        (net / "wireless").write_text(text)
    assert wifi_dbm("192.168.2.7", "192.168.2.9", net) is None
