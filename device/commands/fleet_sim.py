"""`sortbin fleet-sim`: publishes as many bins, to try a broker, a database and dashboards with."""

import argparse
import sys
import time
from datetime import UTC, datetime
from typing import Any

from device.common.cli import float_range, int_range
from device.common.shutdown import stop_on_signals
from device.policy.rules import default_rules, read_rules
from device.simulation.broker_url import broker_settings
from device.simulation.fleet import MOST_BINS, Fleet, FleetPlan, FleetReport
from device.simulation.fleet_payloads import FleetModel
from device.vision.inference.bundle import default_bundle, read_bundle

LONGEST_S = 1e9
PROGRESS_S = 1.0


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add `fleet-sim` to the command line."""
    parser = commands.add_parser(
        "fleet-sim",
        help="publish as a fleet of bins, to try dashboards with",
        description="Publish as N bins, called sim-00001 and so on, all topics of docs/mqtt.md, until it is time or Ctrl-C. Labels and probabilities "
        "are drawn at random, more of them in the afternoon than at night (UTC). The same seed gives the same events; with the same --begin "
        "the same payloads. Each bin has a connection of its own. Exit status: 0 it ran, 2 bad usage or no broker.",
    )
    parser.add_argument("--bins", type=int_range(1, MOST_BINS), default=10, metavar="N", help="how many (default: %(default)s)")
    parser.add_argument(
        "--rate", type=float_range(gt=0, le=100), default=0.1, metavar="R", help="events a second and bin, the mean of a day (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int_range(0), default=1, metavar="N", help="another seed, other lives (default: %(default)s)")
    parser.add_argument("--seconds", type=float_range(gt=0, le=LONGEST_S), metavar="T", help="stop after so many simulated seconds")
    parser.add_argument("--speed", type=float_range(gt=0, le=1e6), default=1.0, metavar="X", help="simulated seconds a second (default: %(default)s)")
    parser.add_argument("--begin", type=_time, metavar="TIME", help="when the simulated time begins, as 2026-01-05T09:00:00Z (default: now)")
    parser.add_argument("--broker", default="mqtt://127.0.0.1", metavar="URL", help="mqtt://[user:password@]host[:port] (default: %(default)s)")
    parser.add_argument("--ca-file", metavar="FILE", help="for mqtts://: the authority that signed the broker's certificate (default: the system's)")
    parser.add_argument("--commands", action="store_true", help="the bins obey cmd/emptied, cmd/identify and cmd/clear_fault")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Simulate, with a line of progress on stderr; print what was published. Returns the exit status."""
    stop = stop_on_signals()
    bundle = read_bundle(default_bundle()).info
    model = FleetModel(bundle, read_rules(default_rules(), bundle.labels))
    plan = FleetPlan(
        bins=arguments.bins,
        rate=arguments.rate,
        seed=arguments.seed,
        begin_s=time.time() if arguments.begin is None else arguments.begin,
        seconds=arguments.seconds,
        speed=arguments.speed,
        commands=arguments.commands,
    )
    with broker_settings(arguments.broker, arguments.ca_file) as settings:
        fleet = Fleet(plan, model, settings)
        progress = _Progress(plan)
        report = fleet.run(stop.is_set, progress.show)
        progress.end()
    rate = report.messages / max(report.seconds, 1e-9)
    print(f"{plan.bins} bins, {report.seconds:.0f} s: {report.events.total()} events, {report.messages} messages, {rate:.0f} messages/s")
    print(f"{report.unacknowledged} not acknowledged, {report.broken} connections broken by the broker")
    print(", ".join(f"{kind} {number}" for kind, number in report.events.most_common()))
    return 0


class _Progress:
    """One line that is written over on a terminal; elsewhere nothing."""

    def __init__(self, plan: FleetPlan) -> None:
        self._plan, self._shown_s, self._messages = plan, 0.0, 0
        self._terminal = sys.stderr.isatty()

    def show(self, report: FleetReport) -> None:
        """Show it, at most once a second."""
        if not self._terminal or (passed_s := report.seconds - self._shown_s) < PROGRESS_S:
            return
        rate = (report.messages - self._messages) / passed_s
        self._shown_s, self._messages = report.seconds, report.messages
        late = f", {report.behind_s:.0f} s late" if report.behind_s >= 1 else ""
        line = (
            f"{report.seconds:.0f} s: {report.online} of {self._plan.bins} online, {rate:.0f} messages/s, {report.unacknowledged} on their way{late}"
        )
        print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Go on in a new line."""
        if self._terminal:
            print(file=sys.stderr)


def _time(text: str) -> float:
    try:
        time_ = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a time such as 2026-01-05T09:00:00Z, found {text}") from None
    if not 1970 < time_.year < 2100:  # further out, a simulation would reach the end of the calendar
        raise argparse.ArgumentTypeError(f"expected a time between 1971 and 2099, found {text}")
    return (time_ if time_.tzinfo else time_.replace(tzinfo=UTC)).timestamp()
