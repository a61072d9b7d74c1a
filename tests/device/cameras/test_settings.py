"""Camera settings in a file."""

import msgspec
import pytest
from msgspec import toml

from device.cameras.kinds import CameraSettings
from device.cameras.picamera import FOCUS_S, Picamera2Settings
from device.cameras.replay import ReplaySettings
from device.cameras.settings import Region
from device.cameras.v4l2 import V4l2Settings


class File(msgspec.Struct, forbid_unknown_fields=True):
    camera: CameraSettings


def read(text: str) -> CameraSettings:
    return toml.decode(text, type=File).camera


def test_the_kind_chooses_the_settings_of_a_camera() -> None:
    assert isinstance(read('[camera]\nkind = "picamera2"'), Picamera2Settings)
    assert read('[camera]\nkind = "v4l2"\ndevice = 2\nfps = 15') == V4l2Settings(device=2, fps=15)
    assert read('[camera]\nkind = "v4l2"\ndevice = "/dev/v4l/by-id/cam"').device == "/dev/v4l/by-id/cam"
    assert isinstance(read('[camera]\nkind = "replay"\npath = "photos"'), ReplaySettings)


def test_a_region_is_given_in_fractions() -> None:
    camera = read('[camera]\nkind = "v4l2"\nrotate_deg = 180\n[camera.region]\nx = 0.25\nw = 0.5')
    assert camera.rotate_deg == 180
    assert camera.region == Region(x=0.25, y=0, w=0.5, h=1)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('kind = "webcam"', "Invalid value 'webcam' - at `$.camera.kind`"),
        ('kind = "v4l2"\nfsp = 10', "unknown field `fsp` - at `$.camera`"),
        ('kind = "v4l2"\nwarm_up_s = 2', "unknown field `warm_up_s` - at `$.camera`"),
        ('kind = "picamera2"\nfocus = "continuous"', "Invalid enum value 'continuous' - at `$.camera.focus`"),
        ('kind = "picamera2"\nfocus = -1', "at `$.camera.focus`"),
        ('kind = "v4l2"\nfps = 0', "at `$.camera.fps`"),
        ('kind = "v4l2"\nrotate_deg = 45', "at `$.camera.rotate_deg`"),
        ('kind = "v4l2"\nwidth = 641', "at `$.camera.width`"),
        ('kind = "replay"', "missing required field `path` - at `$.camera`"),
        ('kind = "v4l2"\n[camera.region]\nx = 0.6\nw = 0.5', "Expected x + w of at most 1, found 1.1 - at `$.camera.region`"),
        ('kind = "v4l2"\n[camera.region]\ny = 0.5\nh = 0.75', "Expected y + h of at most 1, found 1.25 - at `$.camera.region`"),
    ],
)
def test_a_mistake_is_named_with_its_key(text: str, complaint: str) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        read(f"[camera]\n{text}")
    assert complaint in str(caught.value)


@pytest.mark.parametrize("kind", [Picamera2Settings, V4l2Settings, ReplaySettings])
def test_every_bounded_wait_is_shorter_than_hang_s(kind: type) -> None:
    limits = {field.name: field.type for field in msgspec.structs.fields(kind)}
    highest, lowest = limits["stale_s"].__metadata__[0].le, limits["hang_s"].__metadata__[0].ge
    assert highest < lowest
    if "warm_up_s" in limits:
        assert limits["warm_up_s"].__metadata__[0].le + 5 < lowest
        assert limits["warm_up_s"].__metadata__[0].le + FOCUS_S + 2 < lowest, "with two seconds to read the sensor's modes"
