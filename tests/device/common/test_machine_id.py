"""A machine's id: the same after each start, and different after its memory card is copied to another machine."""

import shutil
from pathlib import Path

import msgspec
import pytest

from device.common.machine_id import default_device_id, folder_id, machine_key
from device.mqtt.topics import Topics
from device.settings import DeviceSettings, read_settings

MACHINE_ID = "0123456789abcdef0123456789abcdef"


def machine(root: Path, *, serial: str = "", machine_id: str = MACHINE_ID, cards: dict[str, str] | None = None) -> Path:
    """A file system of a machine. cards: address by name and bus, as in `eth0 platform`; `random` in the name makes an address that changes."""
    (root / "etc").mkdir(parents=True)
    if machine_id:
        (root / "etc/machine-id").write_text(f"{machine_id}\n")
    if serial:
        (root / "proc/device-tree").mkdir(parents=True)
        (root / "proc/device-tree/serial-number").write_text(f"{serial}\0")
    for name_and_bus, address in (cards or {}).items():
        name, bus = name_and_bus.split()
        card, device = root / "sys/class/net" / name, root / "sys/devices" / bus / name
        card.mkdir(parents=True)
        device.mkdir(parents=True)
        (card / "address").write_text(f"{address}\n")
        (card / "addr_assign_type").write_text("1\n" if "random" in name else "0\n")
        if bus != "virtual":
            (card / "device").symlink_to(device)
    return root


def test_a_raspberry_pi_gets_an_id_from_its_serial_number(tmp_path: Path) -> None:
    assert default_device_id(machine(tmp_path / "pi", serial="10000000a1b2c3d4", cards={"eth0 platform": "b8:27:eb:01:02:03"})) == "bin-a1b2c3d4"


def test_a_memory_card_copied_to_another_board_gives_another_id(tmp_path: Path) -> None:
    first = machine(tmp_path / "first", serial="10000000a1b2c3d4")
    second = machine(tmp_path / "second", serial="10000000a1b2c3d5")
    assert default_device_id(first) != default_device_id(second)


def test_a_disk_copied_to_another_computer_gives_another_id(tmp_path: Path) -> None:
    first = machine(tmp_path / "first", cards={"eth0 pci": "b8:27:eb:01:02:03"})
    second = machine(tmp_path / "second", cards={"eth0 pci": "b8:27:eb:01:02:04"})
    assert default_device_id(first) != default_device_id(second)


def test_a_reinstalled_system_keeps_the_id_of_its_machine(tmp_path: Path) -> None:
    for number, parts in enumerate([{"serial": "10000000a1b2c3d4"}, {"cards": {"eth0 pci": "b8:27:eb:01:02:03"}}]):
        before = machine(tmp_path / f"before{number}", **parts)  # type: ignore[arg-type]
        after = machine(tmp_path / f"after{number}", machine_id="f" * 32, **parts)  # type: ignore[arg-type]
        assert default_device_id(before) == default_device_id(after)


@pytest.mark.parametrize(
    "more",
    [
        {"eth1 usb": "00:00:01:00:00:01"},
        {"random0 pci": "00:00:01:00:00:02"},
        {"docker0 virtual": "02:42:00:00:00:01"},
        {"veth0 virtual": "00:00:01:00:00:03"},
        {"tap0 pci": "52:54:00:12:34:56"},
        {"ib0 pci": "00:00:00:00:00:00:00:00:00:01"},
        {"wlan0 pci": "b8:27:eb:01:02:04"},
    ],
)
def test_removable_network_cards_do_not_change_the_id(more: dict[str, str], tmp_path: Path) -> None:
    soldered = {"enp3s0 pci": "b8:27:eb:01:02:03"}
    assert default_device_id(machine(tmp_path / "with", cards=soldered | more)) == default_device_id(machine(tmp_path / "without", cards=soldered))


@pytest.mark.parametrize("serial", ["", "0000000000000000", "1234", "to be filled by o.e.m."])
def test_without_serial_number_and_card_the_machine_id_is_used(serial: str, tmp_path: Path) -> None:
    root = machine(tmp_path / "machine", serial=serial, cards={"eth0 pci": "52:54:00:12:34:56"})
    assert default_device_id(root) == default_device_id(machine(tmp_path / "same", serial=serial))
    assert default_device_id(root) != default_device_id(machine(tmp_path / "other", serial="0000", machine_id="f" * 32))


def test_the_id_is_valid_in_topics_and_hides_its_source(tmp_path: Path) -> None:
    bare = machine(tmp_path / "bare", machine_id="")
    for root in (bare, machine(tmp_path / "odd", serial="ÄÖÜ/+#00000"), machine(tmp_path / "plain"), Path("/")):
        Topics(default_device_id(root))
    assert MACHINE_ID[:4] not in default_device_id(tmp_path / "plain")
    assert machine_key(bare).startswith("name ")


def test_a_copied_folder_or_another_machine_gives_another_folder_id(tmp_path: Path) -> None:
    here, there = machine(tmp_path / "here", serial="10000000a1b2c3d4"), machine(tmp_path / "there", serial="10000000a1b2c3d5")
    folder = tmp_path / "state"
    folder.mkdir()
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    assert folder_id(folder, here) == folder_id(folder, here)
    assert len({folder_id(folder, here), folder_id(copy, here), folder_id(folder, there)}) == 3


def test_settings_without_an_id_use_the_machine_id(tmp_path: Path) -> None:
    assert DeviceSettings().id == default_device_id()
    assert msgspec.convert({"state": "/srv"}, DeviceSettings).id == default_device_id()
    assert msgspec.convert({"id": "bin-1"}, DeviceSettings).id == "bin-1"
    file = tmp_path / "sortbin.toml"
    file.write_text('[camera]\nkind = "v4l2"\n[[gate]]\nkind = "simulated"\nbin = "paper"\n', encoding="utf-8")
    assert read_settings(file).device.id == default_device_id()
