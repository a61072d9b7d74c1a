"""All kinds of commands."""

from device.remote import RemoteCommand
from device.remote.capture import CapturePicture
from device.remote.clear_fault import ClearFault
from device.remote.emptied import SayEmptied
from device.remote.forget import Forget
from device.remote.identify import Identify
from device.remote.pause import Pause
from device.remote.relearn import Relearn
from device.remote.restart import Restart
from device.remote.resume import Resume
from device.remote.set_paused import SetPaused
from device.remote.teach import Teach
from device.remote.test_gate import GateTest

ALL = (Pause, Resume, SetPaused, SayEmptied, ClearFault, Relearn, GateTest, CapturePicture, Teach, Forget, Restart, Identify)
COMMANDS: dict[str, type[RemoteCommand]] = {kind.name: kind for kind in ALL}
