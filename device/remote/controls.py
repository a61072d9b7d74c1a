"""What a remote command may use of the bin."""

from collections.abc import Callable
from dataclasses import dataclass, field

from device.cameras import Frame
from device.policy.rules import RulePack
from device.remote.board_led import BoardLed
from device.remote.lessons import RemoteLessons
from device.remote.pause_note import PauseNote
from device.sensors.levels import Levels
from device.sorting.sorter import Sorter


@dataclass(frozen=True, kw_only=True)
class BinControls:
    """The parts that commands work with, all of them on the control thread.

    publish_image: publishes a JPEG; None where the settings do not allow pictures. ask_restart: ends the daemon once all commands are answered.
    """

    sorter: Sorter
    newest_frame: Callable[[], Frame | None]
    rules: RulePack
    levels: Levels
    lessons: RemoteLessons
    pause_note: PauseNote
    publish_image: Callable[[bytes], None] | None
    ask_restart: Callable[[], None]
    led: BoardLed = field(default_factory=BoardLed)
