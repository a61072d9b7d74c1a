"""A command is carried out once, however often it is sent and whenever the bin is killed."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device.common.clock import Clock
from device.events import CommandAccepted
from device.ledger.accepted_commands import COMMANDS, CommandAnswer
from device.ledger.ledger import Ledger
from device.ledger.schema import LedgerError
from tests.device.ledger.ledgers import ROOT, WAIT_S, Opener, events_in, power_cut, stored


def command(name: str) -> CommandAccepted:
    return CommandAccepted(command="emptied", id=name, args={"bin": "paper"})


def done(name: str) -> CommandAnswer:
    return CommandAnswer(id=name, ok=True, code="done", message="Ⓐ was emptied")


def test_a_new_command_is_on_disk_before_it_is_carried_out(opener: Opener, state: Path) -> None:
    heard: list[bytes] = []
    ledger = opener()
    ledger.listen(heard.append)
    assert ledger.accept_command(command("1")).result(WAIT_S) is None
    (event,) = events_in(state)
    assert isinstance(event, CommandAccepted)
    assert (event.id, event.args, event.seq, event.device) == ("1", {"bin": "paper"}, 1, "bin1")
    while ledger.busy:
        pass
    assert len(heard) == len(ledger.outbox(0, 10)) == 1


def test_a_repeated_command_gets_the_first_answer(opener: Opener, state: Path) -> None:
    ledger = opener()
    assert ledger.accept_command(command("1")).result(WAIT_S) is None
    running = ledger.accept_command(command("1")).result(WAIT_S)
    assert running is not None
    assert (running.ok, running.code) == (False, "running")
    ledger.answer_command(done("1")).result(WAIT_S)
    ledger.answer_command(CommandAnswer(id="1", ok=False, code="late", message="")).result(WAIT_S)
    assert ledger.accept_command(command("1")).result(WAIT_S) == done("1")
    ledger.close(WAIT_S)
    again = opener()
    assert again.accept_command(command("1")).result(WAIT_S) == done("1")
    assert len(events_in(state)) == 1


def test_a_command_that_was_cut_off_is_interrupted(opener: Opener, state: Path, tmp_path: Path) -> None:
    assert opener().accept_command(command("1")).result(WAIT_S) is None
    answer = opener(power_cut(state, tmp_path / "after")).accept_command(command("1")).result(WAIT_S)
    assert answer is not None
    assert (answer.id, answer.ok, answer.code) == ("1", False, "interrupted")


def test_the_same_id_many_times_at_once_is_accepted_once(opener: Opener, state: Path) -> None:
    ledger = opener()
    told = [ledger.accept_command(command(str(n % 3))) for n in range(120)]
    answers = [future.result(WAIT_S) for future in told]
    assert [answer is None for answer in answers] == [n < 3 for n in range(120)]
    assert len(events_in(state)) == 3


def test_the_newest_ids_are_remembered(opener: Opener) -> None:
    ledger = opener()
    for first in range(0, COMMANDS + 1, 100):
        told = [ledger.accept_command(command(str(n))) for n in range(first, min(first + 100, COMMANDS + 1))]
        assert [future.result(WAIT_S) for future in told] == [None] * len(told)
    assert ledger.accept_command(command("1")).result(WAIT_S) is not None
    assert ledger.accept_command(command("0")).result(WAIT_S) is None


def test_what_is_no_text_is_refused_and_harms_nothing_else(opener: Opener) -> None:
    ledger = opener()
    bad = [ledger.accept_command(command("\ud800")), ledger.answer_command(CommandAnswer(id="1", ok=True, code="done", message="\ud800"))]
    assert ledger.accept_command(command("1")).result(WAIT_S) is None
    for future in bad:
        with pytest.raises(LedgerError, match="cannot be stored"):
            future.result(WAIT_S)
    ledger.answer_command(done("never accepted")).result(WAIT_S)
    assert ledger.accept_command(command("never accepted")).result(WAIT_S) is None


@settings(max_examples=25)
@given(st.lists(st.tuples(st.sampled_from(["send", "send", "answer", "cut", "close"]), st.sampled_from("abc")), max_size=20))
def test_a_command_is_never_carried_out_twice(tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str]]) -> None:
    """`carried_out` is what the bin has done, which no power cut undoes."""
    folder = tmp_path_factory.mktemp("commands")
    ledger, cuts = Ledger(folder / "0", "bin1", Clock()), 0
    carried_out: Counter[str] = Counter()
    expected: dict[str, str] = {}
    for step, name in steps:
        match step:
            case "send":
                answer = ledger.accept_command(command(name)).result(WAIT_S)
                assert (None if answer is None else answer.code) == expected.get(name)
                if answer is None:
                    carried_out[name] += 1
                    expected[name] = "running"
            case "answer":
                ledger.answer_command(done(name)).result(WAIT_S)
                expected |= {name: "done"} if expected.get(name) == "running" else {}
                expected |= {name: "done"} if expected.get(name) == "interrupted" else {}
            case _:
                cuts += 1
                if step == "close":
                    ledger.close(WAIT_S)
                power_cut(folder / str(cuts - 1), folder / str(cuts))
                ledger.close(WAIT_S)
                ledger = Ledger(folder / str(cuts), "bin1", Clock())
                expected = {each: "interrupted" if code == "running" else code for each, code in expected.items()}
    ledger.close(WAIT_S)
    assert set(carried_out.values()) <= {1}
    assert Counter(event.id for event in events_in(folder / str(cuts)) if isinstance(event, CommandAccepted)) == carried_out


KILLED = """
import sys
from pathlib import Path
from device.common.clock import Clock
from device.events import CommandAccepted
from device.ledger.accepted_commands import CommandAnswer
from device.ledger.ledger import Ledger

ledger = Ledger(Path(sys.argv[1]), "bin1", Clock())
print("open", flush=True)
for name in map(str, range(int(sys.argv[2]))):
    for _ in range(2):
        if ledger.accept_command(CommandAccepted(command="pause", id=name)).result(20) is None:
            print("done", name, flush=True)
            ledger.answer_command(CommandAnswer(id=name, ok=True, code="done", message=""))
"""


@pytest.mark.slow
def test_kills_amid_commands_carry_none_out_twice(opener: Opener, state: Path) -> None:
    carried_out: Counter[str] = Counter()
    for kill in range(12):
        program = [sys.executable, "-c", KILLED, str(state), str(10 * kill + 10)]
        process = subprocess.Popen(program, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(2 + kill % 7)]
        process.kill()
        lines += process.stdout.read().splitlines(keepends=True)
        process.wait(WAIT_S)
        process.stdout.close()
        carried_out.update(line.split()[1] for line in lines if line.startswith("done") and line.endswith("\n"))
    assert len(carried_out) > 12
    assert set(carried_out.values()) == {1}
    ledger = opener()
    for name in carried_out:
        answer = ledger.accept_command(command(name)).result(WAIT_S)
        assert answer is not None
        assert answer.code in ("done", "interrupted")
    assert stored(ledger.record(command("another")))
