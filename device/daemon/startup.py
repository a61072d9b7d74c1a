"""Opens the parts of a bin, in order, and closes them in the opposite order."""

import contextlib
import functools
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from device.adaptation.head_store import read_head
from device.adaptation.label_prior import LabelPrior, SiteError
from device.common.clock import Clock
from device.common.errors import SortbinError
from device.daemon.parts import BinParts, collected_warnings
from device.events import AnyEvent
from device.hardware import BinHardware
from device.ledger.ledger import Ledger
from device.ledger.restart_count import CRASH_LOOP_S
from device.mqtt.link import Link
from device.policy.rules import RulePack, default_rules, find_rules, read_rules
from device.settings import BinSettings, ModelSettings
from device.vision.fewshot.fewshot_head import FewshotHead, TeachingError
from device.vision.inference.bundle import Bundle, BundleError, default_bundle, find_bundle, read_bundle
from device.vision.inference.classifier import Classifier
from device.vision.inference.runtime import Kernels, RuntimeFault, load_runtime
from device.vision.judge import Judge

log = logging.getLogger("sortbin")

SAFE_MODE_AFTER = 5
"""crashes in a row, each soon after its start, after which everything goes to the residual bin"""


class Crash(SortbinError, RuntimeError):
    """A part that was opened and has given up, with its reason. The end of the process counts as a crash, and a new start may help."""


@contextlib.contextmanager
def open_parts(settings: BinSettings, open_hardware: Callable[[RulePack], BinHardware], told: Callable[[AnyEvent], None]) -> Iterator[BinParts]:
    """Open every part, and close them in the opposite order whatever happens.

    open_hardware: opens what this bin sees with and moves, given its rule pack. told: called with each event that opening the ledger has stored.
    Raises BundleError (also for a wrong known answer), RuntimeFault, RulesError, SiteError, GateError, LedgerError where a part cannot be opened, and
    Crash for what a part raises once all are.
    """
    with contextlib.ExitStack() as stack:
        # The ledger first: it knows of crashes, and an accelerator may be what they come from.
        ledger = Ledger(Path(settings.device.state), settings.device.id, Clock())
        begun = False
        stack.push(lambda error, *_: _close(ledger, error, begun))
        for event in ledger.interrupted:
            told(event)
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
        link = None if settings.mqtt is None else Link(settings.mqtt, settings.device.id, ledger)
        if link is not None:
            stack.callback(link.stop, 0.5)
        begun = True
        try:
            yield BinParts(judge, label_prior, rules, hardware, ledger, link, safe_mode, tuple(remarks))
        except SortbinError as error:
            raise Crash(str(error)) from error


def _close(ledger: Ledger, error: type[BaseException] | None, begun: bool) -> None:
    """A start that was refused before all parts were open does not count: what the ledger knows of crashes stays as it was."""
    refused = error is not None and issubclass(error, SortbinError) and not begun
    ledger.close(0.5, "not begun" if refused else "crash" if error is not None else "clean")


def _without_edgetpu(settings: BinSettings) -> BinSettings:
    return msgspec.structs.replace(settings, model=msgspec.structs.replace(settings.model, edgetpu=False))


def open_classifier(settings: BinSettings) -> Classifier:
    """Load the bundle on the runtime that will be used and check its known answer.

    An Edge TPU that is missing, sick or wrong is said in the log, and the CPU does the work. Raises BundleError and RuntimeFault.
    """
    bundle = read_bundle(find_bundle(settings.model.bundle) if settings.model.bundle else default_bundle())
    if not settings.model.edgetpu:
        return _checked(bundle, settings.model, "default")
    try:
        classifier = _checked(bundle, settings.model, "edgetpu")
    except (BundleError, RuntimeFault) as error:
        return _on_cpu(bundle, settings.model, str(error))
    if classifier.runtime.degraded:
        log.warning("no Edge TPU, on the CPU instead: %s", classifier.runtime.degraded)
    return classifier


def open_judge(settings: BinSettings) -> Judge:
    """The classifier, and what was taught on top of it. Raises as `open_classifier` does."""
    classifier = open_classifier(settings)
    bundle = classifier.bundle
    on_edgetpu = settings.model.edgetpu and not classifier.runtime.degraded
    return Judge(classifier, _taught(Path(settings.device.state), bundle), functools.partial(_on_cpu, bundle, settings.model) if on_edgetpu else None)


def _on_cpu(bundle: Bundle, model: ModelSettings, why: str) -> Classifier:
    """In place of an Edge TPU. why: what is wrong with that."""
    classifier = _checked(bundle, model, "default", degraded=why)
    log.warning("no Edge TPU, on the CPU instead: %s", why)
    return classifier


def _taught(state: Path, bundle: Bundle) -> FewshotHead | None:
    """What the bin was taught. What does not fit the bundle is said in the log: better to sort with the bundle alone than not at all."""
    try:
        return read_head(state, bundle)
    except TeachingError as error:
        log.warning("what was taught does not count: %s", error)
        return None


def _checked(bundle: Bundle, model: ModelSettings, kernels: Kernels, degraded: str = "") -> Classifier:
    runtime = load_runtime(bundle, package=model.runtime or None, kernels=kernels, threads=model.threads, degraded=degraded)
    classifier = Classifier(bundle, runtime)
    classifier.check_known_answer()
    return classifier


def read_rule_pack(settings: BinSettings, labels: tuple[str, ...], also: tuple[str, ...] = ()) -> RulePack:
    """The rule pack that the settings name; labels, also: as for `read_rules`. Raises RulesError."""
    return read_rules(find_rules(settings.model.rules) if settings.model.rules else default_rules(), labels, also)


def open_label_prior(settings: BinSettings, judge: Judge) -> LabelPrior:
    """What the settings say of the place, for the labels that are judged. Raises SiteError."""
    try:
        return LabelPrior(judge.labels, judge.usual, settings.site)
    except SiteError as error:
        raise SiteError(f"site.{error}") from error
