"""The model card of a bundle: what the model is, how it was made, and its measured figures."""

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from converter.bundle.confidence import WANTED_RIGHT
from converter.common.accuracy import Predictions
from converter.common.proportion import proportion
from converter.data.training_run import Run
from converter.quantization.bias_correction import Correction
from device.vision.inference.bundle import BundleInfo, MeasuredAccuracy
from device.vision.inference.classifier import softmax
from device.vision.inference.novelty import FILE as KNOWN_FILE


@dataclass(frozen=True, eq=False)
class ModelCard:
    """The content of a model card. title: what the model computes in. float32, int8: predictions of the float network and the quantized model.

    sizes: bytes of each other file; empty for the card inside the model. notes: Markdown by the maker. remarks: what to look into, one line each.
    """

    title: str
    info: BundleInfo
    tolerance_points: float
    run: Run
    float32: Predictions
    int8: Predictions
    recipe: str
    correction: Correction | None
    sizes: dict[str, int]
    notes: str
    remarks: tuple[str, ...] = ()

    def text(self) -> str:
        """The card in Markdown. The same measurements give the same text."""
        info = self.info
        sections = [
            [f"# {info.name}", "", f"An image classifier in {self.title} for Sortbin with {len(info.labels)} labels: {', '.join(info.labels)}."],
            self._accuracy(),
            self._recall(),
            self._confusion(),
            self._confidence(),
            self._how_it_was_made(),
            self._limits(),
        ]
        if self.notes.strip():
            sections.append([self.notes.strip()])
        return "\n\n".join("\n".join(section) for section in sections) + "\n"

    def _accuracy(self) -> list[str]:
        metrics = self.info.metrics
        rows = [
            (name, *_accuracy_cells(answers), f"{measured.nll:.3f}", measured.runtime)
            for name, answers, measured in (("float32", self.float32, metrics.float32), (self.title, self.int8, metrics.int8))
        ]
        return [
            "## Accuracy",
            "",
            f"On {metrics.int8.n} photos ({metrics.data}), through the device's own preprocessing:",
            "",
            *_markdown_table(("model", "accuracy", "95 % interval", "nll", "measured on"), rows),
            "",
            f"Both name the same label on {100 * metrics.agreement:.1f} % of them. Intervals are Wilson's.",
            *self._isolated(),
        ]

    def _isolated(self) -> list[str]:
        found = self.info.metrics.isolated
        if found is msgspec.UNSET:
            return []
        rows = [(name, *_claim_cells(measured), f"{measured.nll:.3f}") for name, measured in (("float32", found.float32), (self.title, found.int8))]
        others = found.int8.n - found.items
        return [
            "",
            (
                "As a bin shows them that knows its empty view, each item cut out of the photo"
                + (f" ({others} photos whole, because the item cannot be told from its ground):" if others else ":")
            ),
            "",
            *_markdown_table(("model", "accuracy", "95 % interval", "nll"), rows),
            "",
            f"Both name the same label on {100 * found.agreement:.1f} % of them. Whether the model may ship was decided on the whole photos.",
        ]

    def _recall(self) -> list[str]:
        rows = [
            (label, int(row.sum()), before, after)
            for label, row, before, after in zip(
                self.info.labels, self.int8.confusion(), self.float32.confusion().diagonal(), self.int8.confusion().diagonal(), strict=True
            )
        ]
        return ["## Recall per label", "", *_markdown_table(("label", "photos", "right, float32", f"right, {self.title}"), rows)]

    def _confusion(self) -> list[str]:
        rows = [(f"**{label}**", *row) for label, row in zip(self.info.labels, self.int8.confusion().tolist(), strict=True)]
        return [
            f"## Confusion of the {self.title} model",
            "",
            "Rows: the true label. Columns: the label named.",
            "",
            *_markdown_table(("", *self.info.labels), rows),
        ]

    def _confidence(self) -> list[str]:
        info = self.info
        accepted = softmax(self.int8.logits, info.temperature).max(axis=1) >= info.reject_below
        right = f"and {100 * self.int8.right[accepted].mean():.1f} % of those are right" if accepted.any() else "so none is accepted"
        shown = "" if info.metrics.isolated is msgspec.UNSET else ", shown whole and cut out together"
        return [
            "## Confidence",
            "",
            (
                f"Temperature {info.temperature:g}. An item is rejected when its best bin has a probability below {info.reject_below:g}: "
                f"{100 * accepted.mean():.1f} % of the validation photos pass this, {right} "
                f"({100 * WANTED_RIGHT:g} % wanted). Both numbers were chosen on the photos they are measured on here{shown}."
            ),
        ]

    def _how_it_was_made(self) -> list[str]:
        info = self.info
        calibration = info.calibration
        recipe = self.run.model.with_name("recipe.toml")
        lines = [
            "## How it was made",
            "",
            "```",
            (
                f"converter quantize {self._command_line_source()} --data DATA --out BUNDLE --name {shlex.quote(info.name)} "
                f"--tolerance {self.tolerance_points:g} "
                f"--calibration {calibration.n} --seed {calibration.seed}{self._precision_option()}"
            ),
            "```",
            "",
            *self._foreign_lines(),
            (
                f"- {self._photos_title()}: {len(self.run.train)}; validation photos: {len(self.run.val)}; sha256 over names and bytes of all "
                f"`{info.data_fingerprint}`."
            ),
            (
                f"- Calibration: {calibration.n} of them, equally over the labels, seed {calibration.seed}, sha256 over "
                f"their bytes `{calibration.sha256}`{self._isolated_note()}."
            ),
            (
                f"- Input: RGB uint8, 1 x {info.input.size} x {info.input.size} x 3, the whole picture stretched; scale 1/127.5, "
                f"zero point {info.input.zero_point}, so camera bytes go in untouched."
            ),
            f"- Converter: {self.recipe}.",
            *([f"- Bias correction: {self.correction}."] if self.correction else []),
            *(f"- `{name}`: {size / 1e6:.2f} MB." for name, size in self.sizes.items()),
        ]
        if recipe.is_file():
            lines += ["", "RUN was trained with this recipe:", "", "```toml", recipe.read_text(encoding="utf-8").strip(), "```"]
        return lines

    def _command_line_source(self) -> str:
        """The model and its options, as on the command line."""
        foreign = self.info.foreign
        if foreign is msgspec.UNSET:
            return "RUN"
        output = f" --output {shlex.quote(foreign.output)}" if foreign.output is not None else ""
        target = f" --target {foreign.target}" if foreign.target != "cpu" else ""
        return f"{shlex.quote(foreign.model)} --labels {shlex.quote(foreign.labels_file)} --pixels={foreign.pixels}{output}{target}"

    def _photos_title(self) -> str:
        return "Training photos" if self.info.foreign is msgspec.UNSET else "Photos for calibration and for what is known"

    def _foreign_lines(self) -> list[str]:
        """Lines on a network that `training fit` did not make."""
        foreign = self.info.foreign
        if foreign is msgspec.UNSET:
            return []
        return [
            f"- Made from `{foreign.model}`, which `training fit` did not make. Which photos it was trained on is not known.",
            f"- Trained on pixels of `{foreign.pixels}`; labels from `{foreign.labels_file}`; made to run on: {foreign.target}.",
        ]

    def _isolated_note(self) -> str:
        isolated = self.info.calibration.isolated
        return "" if isolated is msgspec.UNSET else f"; {isolated} of them show the item by itself"

    def _precision_option(self) -> str:
        return "" if self.info.precision is msgspec.UNSET else f" --precision {self.info.precision}"

    def _limits(self) -> list[str]:
        return [
            "## Limits",
            "",
            self._validity(),
            self._unknown_items(),
            *(f"- Look into this: {remark}" for remark in self.remarks),
            "- The interval is the chance of the draw alone: on few photos, a difference of a point or two between models means little.",
        ]

    def _validity(self) -> str:
        if self.info.foreign is not msgspec.UNSET:
            return (
                "- The photos it was measured on may be among those it was trained on: then it is right less often on others. They chose its "
                "temperature and its rejection threshold as well. Expect less with other cameras, light, grounds and items."
            )
        return (
            "- The validation photos chose the network, its temperature and its rejection threshold, and they come from where the "
            "training photos come from. Expect less elsewhere: other cameras, light, grounds and items."
        )

    def _unknown_items(self) -> str:
        """What happens to an item of no label."""
        above = self.info.unknown_above
        if above is msgspec.UNSET:
            return "- An item of no known label is given one of these labels all the same, often with confidence."
        return (
            f"- An item of no known label: where it is unlike everything that the network was shown (a score above {above:g} by `{KNOWN_FILE}`), a "
            "bin takes it for unknown. That catches a part of them; the others are given one of these labels all the same, often with confidence."
        )


def _accuracy_cells(answers: Predictions) -> tuple[str, str]:
    return _share_cells(int(answers.right.sum()), len(answers.targets))


def _claim_cells(measured: MeasuredAccuracy) -> tuple[str, str]:
    return _share_cells(round(measured.accuracy * measured.n), measured.n)


def _share_cells(right: int, n: int) -> tuple[str, str]:
    found = proportion(right, n)
    return f"{found.share:.4f} ({right} of {n})", found.interval()


def _markdown_table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(str(cell) for cell in line)} |" for line in lines]
