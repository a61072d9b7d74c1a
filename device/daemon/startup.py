"""Start-up: opens and checks the parts of a bin in order, decides on safe mode, and closes the parts in the opposite order."""

import contextlib
import functools
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from device.adaptation.fewshot_head_store import read_head
from device.adaptation.label_prior import LabelPrior, SiteError
from device.common.clock import Clock
from device.common.errors import SortbinError
from device.daemon.parts import BinParts, collected_warnings
from device.events import AnyEvent
from device.hardware import BinHardware
from device.ledger.ledger import Ledger
from device.ledger.restart_count import CRASH_LOOP_S
from device.mqtt.reconnecting_link import Link
from device.policy.rules import RulePack, default_rules, find_rules, read_rules
from device.sensors import ItemCount
from device.sensors.levels import Levels
from device.settings import BinSettings, ModelSettings
from device.vision.fewshot.fewshot_head import FewshotHead, TeachingError
from device.vision.inference.bundle import Bundle, BundleError, default_bundle, find_bundle, read_bundle
from device.vision.inference.classifier import Classifier
from device.vision.inference.runtime import Kernels, RuntimeFault, load_runtime
from device.vision.judge import Judge

log = logging.getLogger("sortbin")

SAFE_MODE_AFTER = 5
"""crashes in a row, each soon after its start, before the next start is in safe mode"""


class Crash(SortbinError, RuntimeError):
    """A part that failed while the bin ran. It counts as a crash, and a restart may help."""


@contextlib.contextmanager
def open_parts(settings: BinSettings, open_hardware: Callable[[RulePack], BinHardware], on_event: Callable[[AnyEvent], None]) -> Iterator[BinParts]:
    """Open every part, and close them in the opposite order whatever happens.

    open_hardware: opens the camera and the gates for a rule pack. on_event: called with each event that opening the ledger has stored.
    Raises BundleError (also for a wrong golden output), RuntimeFault, RulesError, SiteError, GateError or LedgerError where a part cannot be opened,
    and Crash where a part fails once all are open.
    """
    with contextlib.ExitStack() as stack:
        # The ledger first: it counts crashes, and the Edge TPU may have caused them.
        clock = Clock()
        ledger = Ledger(Path(settings.device.state), settings.device.id, clock)
        all_open = False
        stack.push(lambda error, *_: _close_ledger(ledger, error, all_open))
        for event in ledger.interrupted:
            on_event(event)
        safe_mode = ledger.crashes >= SAFE_MODE_AFTER
        if safe_mode:
            log.warning(
                "safe mode after %d crashes in a row: everything goes to the residual bin, and no Edge TPU is used, until the bin has run for %g min",
                ledger.crashes,
                CRASH_LOOP_S / 60,
            )
        with collected_warnings() as remarks:
            for warning in ledger.warnings:
                log.warning("%s", warning)
            judge = open_judge(_without_edgetpu(settings) if safe_mode else settings)
            rules = read_rule_pack(settings, judge.labels, judge.classifier.labels)
            for label in rules.hazards_without_label(judge.labels):
                log.warning("rule pack %s: the hazard %s passes unnoticed until the bin is taught it", rules.name, label)
            label_prior = open_label_prior(settings, judge)
            hardware = open_hardware(rules)
            stack.callback(hardware.close)
        levels = Levels(hardware.sensors, rules.bins, lambda: item_counts(ledger), ledger.full_before)
        stack.callback(levels.close)
        link = None if settings.mqtt is None else Link(settings.mqtt, settings.device.id, ledger)
        if link is not None:
            stack.callback(link.stop, 0.5)
        all_open = True
        try:
            yield BinParts(judge, label_prior, rules, hardware, ledger, clock, link, levels, safe_mode, tuple(remarks))
        except SortbinError as error:
            raise Crash(str(error)) from error


def item_counts(ledger: Ledger) -> dict[str, ItemCount]:
    """What went into each bin since it was emptied."""
    emptied = ledger.since_emptied()
    return {name: ItemCount(since.time, since.totals.labels, since.totals.rejected) for name, since in emptied.items()}


def _close_ledger(ledger: Ledger, error: type[BaseException] | None, all_open: bool) -> None:
    """Close it and note how the run ended. A start that was refused before all parts were open counts neither as a crash nor as a clean stop."""
    refused = error is not None and issubclass(error, SortbinError) and not all_open
    ledger.close(0.5, "refused" if refused else "crash" if error is not None else "clean")


def _without_edgetpu(settings: BinSettings) -> BinSettings:
    return msgspec.structs.replace(settings, model=msgspec.structs.replace(settings.model, edgetpu=False))


def open_classifier(settings: BinSettings) -> Classifier:
    """Load the bundle on its runtime and check the golden output.

    Where an Edge TPU is missing, fails or gives a wrong output, that is logged and the CPU is used. Raises BundleError and RuntimeFault.
    """
    bundle = read_bundle(find_bundle(settings.model.bundle) if settings.model.bundle else default_bundle())
    if not settings.model.edgetpu:
        return _load_checked(bundle, settings.model, "default")
    try:
        classifier = _load_checked(bundle, settings.model, "edgetpu")
    except (BundleError, RuntimeFault) as error:
        return _load_on_cpu(bundle, settings.model, str(error))
    if classifier.runtime.degraded:
        log.warning("no Edge TPU, on the CPU instead: %s", classifier.runtime.degraded)
    return classifier


def open_judge(settings: BinSettings) -> Judge:
    """The classifier with the taught head, where there is one. Raises as `open_classifier` does."""
    classifier = open_classifier(settings)
    bundle = classifier.bundle
    on_edgetpu = settings.model.edgetpu and not classifier.runtime.degraded
    return Judge(
        classifier, _read_head(Path(settings.device.state), bundle), functools.partial(_load_on_cpu, bundle, settings.model) if on_edgetpu else None
    )


def _load_on_cpu(bundle: Bundle, model: ModelSettings, why: str) -> Classifier:
    """Load the bundle on the CPU in place of an Edge TPU. why: what is wrong with the Edge TPU."""
    classifier = _load_checked(bundle, model, "default", degraded=why)
    log.warning("no Edge TPU, on the CPU instead: %s", why)
    return classifier


def _read_head(state: Path, bundle: Bundle) -> FewshotHead | None:
    """The taught head. One that does not fit the bundle is logged and left out: the bin then sorts with the bundle alone."""
    try:
        return read_head(state, bundle)
    except TeachingError as error:
        log.warning("what was taught does not count: %s", error)
        return None


def _load_checked(bundle: Bundle, model: ModelSettings, kernels: Kernels, degraded: str = "") -> Classifier:
    runtime = load_runtime(bundle, package=model.runtime or None, kernels=kernels, threads=model.threads, degraded=degraded)
    classifier = Classifier(bundle, runtime)
    classifier.check_golden_output()
    return classifier


def read_rule_pack(settings: BinSettings, labels: tuple[str, ...], also: tuple[str, ...] = ()) -> RulePack:
    """Read the rule pack that the settings name. labels, also: see `read_rules`. Raises RulesError."""
    return read_rules(find_rules(settings.model.rules) if settings.model.rules else default_rules(), labels, also)


def open_label_prior(settings: BinSettings, judge: Judge) -> LabelPrior:
    """The label prior of `[site]`, for the labels of the judge. Raises SiteError."""
    try:
        return LabelPrior(judge.labels, judge.expected_shares, settings.site)
    except SiteError as error:
        raise SiteError(f"site.{error}") from error
