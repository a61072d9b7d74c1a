"""The JSON payloads of commands: what a person or program sends to a bin, and what the bin answers."""

from typing import Annotated, Any

import msgspec

CommandId = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.:-]+$(?!\n)", description="letters, digits, _ . : and -")]
"""chosen by the sender, another one for each command; a random one is best. `$` alone would let a line break through at its end"""


class Command(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`cmd/<name>`: asks a bin to do something."""

    id: CommandId
    """chosen by the sender, another one for each command: up to 64 letters, digits, _ . : and -"""
    ttl_s: Annotated[float, msgspec.Meta(ge=1, le=3600)] = 30.0
    """seconds after `sent` for which the command holds"""
    sent: str = ""
    """when it was sent, RFC 3339 with an offset or Z; empty: not told, and the bin takes it for sent when it arrives"""
    args: dict[str, Any] = {}
    """what this command needs to know: `cmd_args.json` has it for each command"""


class CommandResult(msgspec.Struct, frozen=True, kw_only=True):
    """`cmd_result`: what became of a command, told once it is finished; not retained."""

    id: str
    """of the command; empty where it could not be read"""
    command: str
    """its name"""
    ok: bool
    """whether it was done"""
    code: str
    """a short word that does not change between versions: `done`, or why not"""
    message: str
    """one line for a person"""
