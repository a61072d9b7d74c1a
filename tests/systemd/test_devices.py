"""The udev rules and the unit name the same devices."""

import re
from pathlib import Path

SYSTEMD = Path(__file__).parents[2] / "systemd"
DEVICE_CLASSES = {"gpio": {"gpiochip"}, "usb": {"usb_device"}, "tty": {"ttyACM", "ttyUSB", "ttyAMA"}, "i2c-dev": {"i2c"}}
"""kernel names of device classes that differ from the subsystem's name"""
FILES_IN_SYSFS = {"pwm", "leds"}


def test_the_service_may_open_every_device_of_the_udev_rules() -> None:
    rules, unit = (SYSTEMD / "60-sortbin.rules").read_text(encoding="utf-8"), (SYSTEMD / "sortbin.service").read_text(encoding="utf-8")
    given = set(re.findall(r'^SUBSYSTEM=="([\w-]+)"', rules, re.MULTILINE)) - FILES_IN_SYSFS
    allowed = set(re.findall(r"^DeviceAllow=char-(\w+) rw$", unit, re.MULTILINE))
    assert set().union(*(DEVICE_CLASSES.get(subsystem, {subsystem}) for subsystem in given)) == allowed
    groups = set(re.findall(r'GROUP="(\w+)"', rules))
    assert groups <= set(re.findall(r"^SupplementaryGroups=(.+)$", unit, re.MULTILINE)[0].split())
