"""The metrics of a run by name: file, title, format, and which direction is better.

Plain names (`bleu`, `updates`) are listed in `METRICS`. A measure of the memories is `KIND.MEASURE`, e.g.
`ffn.variance_ratio` or `attention.entropy`, the mean over the kind's places; shares of slots carry their percentage,
`ffn.top_share.0.2`, and shares of distances their bound, `attention.beyond.128`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator

from reluformer.config.settings import SettingsError, nearest

if TYPE_CHECKING:
    import pandas as pd

SUMMARY, TRANSLATION, SCORES, ANALYSIS = "summary.json", "translation.json", "scores.json", "analysis.json"
ATTENTION, LOG = "attention.npz", "log.jsonl"
MEASURED = "measured.json"
"""Written by `reluformer measure` into results/paper/; belongs to no run."""

MISSING = {
    SUMMARY: "not run",
    TRANSLATION: "not translated",
    SCORES: "not scored",
    ANALYSIS: "not analysed",
    MEASURED: "not measured",
}
"""What a table shows if a run's file is missing."""

KINDS = {
    "ffn": "FFN",
    "attention": "attention",
    "encoder_attention": "encoder attention",
    "decoder_attention": "decoder attention",
    "cross_attention": "cross-attention",
}
SHARES = ("0.1", "0.2", "0.5", "1", "2", "5", "10", "20", "50", "100")
"""Percentages of slots at which shares of the mass are saved."""

Better = Literal["higher", "lower", "neither"]


class Metric(NamedTuple):
    """Where a metric is stored, and how it is shown."""

    name: str
    title: str
    file: str
    path: tuple[str, ...]
    format: str = ".2f"
    better: Better = "neither"
    survives: bool = False
    """Also meaningful for a run that diverged."""
    robust: bool = False
    """Whether repeated values are summarised by their median: times have outliers."""
    tested: bool = True
    """Whether systems are tested for a difference; false for what the configuration or the corpus determines."""

    def read(self, files: Mapping[str, Any]) -> float | None:
        """Returns the metric's value in a run's JSON files (name -> content); None if it is absent."""
        value: Any = files.get(self.file)
        for part in self.path:
            if not isinstance(value, Mapping):
                return None
            value = value.get(part)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return None
        return float(value)

    @property
    def average(self) -> str:
        """What `centre` returns: `mean` or `median`."""
        return "median" if self.robust else "mean"

    def centre(self, values: pd.Series) -> float:
        """Returns the mean of several values, or their median."""
        return float(values.median() if self.robust else values.mean())

    def show(self, value: float, sd: float | None = None) -> str:
        """Formats `value ± sd`; only `value` if there is no spread or the seeds agree exactly."""
        text = format(value, self.format)
        return text if sd is None or abs(sd) <= 1e-9 * abs(value) else f"{text} ± {format(sd, self.format)}"

    def show_difference(self, value: float) -> str:
        """Formats a difference with its sign."""
        return format(value, f"+{self.format}")

    def show_interval(self, interval: tuple[float, float]) -> str:
        """Formats `[low, high]`."""
        return f"[{', '.join(format(bound, self.format) for bound in interval)}]"


def _summary(name: str, title: str, form: str = ".2f", better: Better = "neither", **traits: bool) -> Metric:
    return Metric(name, title, SUMMARY, tuple(name.split(".")), form, better, **traits)


def _score(name: str, title: str, form: str = ".2f") -> Metric:
    return Metric(name, title, SCORES, ("metrics", name, "score"), form, "higher")


def _measured(name: str, title: str, form: str, better: Better) -> Metric:
    return Metric(f"measured.{name}", title, MEASURED, (name,), form, better, survives=True, robust=True, tested=False)


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        _score("bleu", "BLEU (sacreBLEU)"),
        _score("tokenized_bleu", "BLEU (tokenised, lower-cased)"),
        _score("chrf", "chrF"),
        _score("d_bleu", "d-BLEU"),
        _score("s_bleu", "s-BLEU"),
        _score("sentence_count_agreement", "segments with as many sentences as the source", ".1%")._replace(
            path=("metrics", "sentence_count_agreement")
        ),
        Metric("mean_length", "mean source length", SCORES, ("lengths", "mean"), ".0f", tested=False),
        Metric("median_length", "median source length", SCORES, ("lengths", "median"), ".0f", tested=False),
        Metric("p90_length", "90th percentile of source length", SCORES, ("lengths", "p90"), ".0f", tested=False),
        Metric("max_length", "longest source", SCORES, ("lengths", "max"), ".0f", tested=False),
        Metric("share_half", "segments of at least L/2", SCORES, ("lengths", "share_half"), ".0%", tested=False),
        _summary("updates", "updates", ",.0f", survives=True, tested=False),
        _summary("parameters", "parameters", ",.0f", survives=True, tested=False),
        _summary("first_loss", "first training loss", survives=True),
        _summary("final_loss", "last training loss", better="lower"),
        _summary("best_valid_loss", "best validation loss", better="lower"),
        _summary("best_valid_bleu", "best validation BLEU (greedy)", better="higher"),
        _summary("source_gain", "what the source explains (nats/token)", better="higher"),
        _summary("mean_source_gain", "what the source explains, mean over validations", better="higher"),
        _summary("dead_keys", "keys without weight in any row", ".1%", better="lower"),
        _summary(
            "tuned.validation_bleu", "validation BLEU of its tuning", better="higher", survives=True, tested=False
        ),
        Metric(
            "training_speed", "training (tokens/s)", SUMMARY, ("tokens_per_second",), ",.0f", "higher", survives=True
        ),
        Metric("decoding_speed", "decoding (tokens/s)", TRANSLATION, ("tokens_per_second",), ",.0f", "higher"),
        _measured("training_speed", "training, tokens/s", ",.0f", "higher"),
        _measured("decoding_speed", "decoding, tokens/s", ",.0f", "higher"),
        _measured("training_memory", "memory of an update (MiB)", ",.1f", "lower"),
        _measured("utilisation", "share of the measured matmul peak", ".1%", "higher"),
        _measured("training_ratio", "training speed / Transformer's", ".2f", "higher"),
        _measured("decoding_ratio", "decoding speed / Transformer's", ".2f", "higher"),
        _measured("memory_ratio", "memory of an update / Transformer's", ".2f", "lower"),
    )
}

MEASURES: dict[str, tuple[str, str]] = {
    "variance_ratio": ("variance of output / residual", ".3g"),
    "output_variance": ("variance of output", ".3g"),
    "residual_variance": ("variance of residual", ".3g"),
    "entropy": ("entropy (nats)", ".2f"),
    "weight_sum": ("sum of the weights", ".2f"),
    "zero_share": ("share of zeros", ".1%"),
    "anisotropy": ("anisotropy of values", ".3f"),
    "used_slots": ("slots ever used", ".1%"),
    "effective_slots": ("slots that some token gives at least an even share", ".1%"),
    "zero_rows": ("rows that are all zero", ".1%"),
    "distance": ("mean distance (tokens)", ".1f"),
    "punctuation_share": ("weight on punctuation", ".1%"),
}
"""Measures of a memory, as analysis.json names them: title and format."""

CURVES = {
    "top_share": "weight held by the top slots",
    "gradient_top_share": "gradient held by the top slots",
    "value_norm_top_share": "value norm held by the top slots",
}
"""Measures saved at each of `SHARES`."""


def metric(name: str) -> Metric:
    """Returns the metric called `name`. Raises `SettingsError` with the nearest name."""
    if name in METRICS:
        return METRICS[name]
    kind, _, measure = name.partition(".")
    if kind not in KINDS:
        raise SettingsError(f"unknown metric {name!r}{nearest(name, [*METRICS, *_measures('ffn')])}")
    measure, _, point = measure.partition(".")
    what = KINDS[kind]
    if measure in MEASURES and not point:
        title, form = MEASURES[measure]
        return Metric(name, f"{what}: {title}", ANALYSIS, ("kinds", kind, measure), form)
    if measure in CURVES and point in SHARES:
        title = CURVES[measure].replace("top slots", f"top {point} % of slots")
        return Metric(name, f"{what}: {title}", ANALYSIS, ("kinds", kind, measure, point), ".1%")
    if measure == "beyond" and point.isdigit():
        title = f"{what}: weight beyond {point} tokens"
        return Metric(name, title, ANALYSIS, ("kinds", kind, "beyond", point), ".1%")
    raise SettingsError(f"unknown metric {name!r}{nearest(name, _measures(kind))}")


def _measures(kind: str) -> list[str]:
    names = [*MEASURES, *(f"{curve}.{share}" for curve in CURVES for share in SHARES), "beyond.128"]
    return [f"{kind}.{name}" for name in names]


MetricName = Annotated[str, AfterValidator(lambda name: metric(name).name)]
"""The name of a metric, in a configuration file."""
