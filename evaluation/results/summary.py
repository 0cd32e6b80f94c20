"""Content of ``results.json``: metrics computed from the stored parts of all items."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from typing import Any

from spectron.evaluation.metrics import CorpusMetric, SummedMetric
from spectron.evaluation.metrics.intervals import NumeratorAndDenominator
from spectron.evaluation.metrics.names import SKIPPED
from spectron.tracking.measure import MetricValue

FORMAT, RESULTS, ITEMS = "spectron-evaluation/1", "results.json", "items.jsonl"
MODEL = "model"  # name of the system under test; all others are baselines and toplines
Line = dict[str, Any]


def sha256_of(value: Any) -> str:
    """Return the SHA-256 of plain values, computed from their JSON with sorted keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def complete_parts(lines: list[Line], metrics: Sequence[SummedMetric]) -> None:
    """Replace the traits in all lines by the parts of the metrics that need all items."""
    answered = [line for line in lines if line["failure"] is None]
    for metric in metrics:
        if isinstance(metric, CorpusMetric) and all(metric.label.name in line["traits"] for line in answered):
            parts = metric.numerators_and_denominators([line["traits"][metric.label.name] for line in answered])
            for line, part in zip(answered, parts, strict=True):
                line["parts"][metric.label.name] = part
    for line in lines:
        line.pop("traits", None)


def summary_of(lines: list[Line], metrics: Sequence[SummedMetric], absent: dict[str, str]) -> dict[str, Any]:
    """Return items, failures and metrics of one system in one task; ``absent`` explains missing evidence, by metric."""
    answered = [line for line in lines if line["failure"] is None]
    splits = sorted({line["split"] for line in answered})
    measures: dict[str, Any] = {}
    for metric in metrics:
        name = metric.label.name
        having = [line for line in answered if name in line["parts"]]
        if not having:
            continue
        why = absent.get(name, metric.skips)
        measures |= entries_of(metric, measures_of(metric, having), why)
        for split in splits if metric.by_split and len(splits) > 1 else ():
            of_split = measures_of(metric, [line for line in having if line["split"] == split])
            measures[f"{name}/{split}"] = entries_of(metric, of_split, why)[name]
    return {
        "items": len(lines),
        "failures": [{"id": line["id"], "reason": line["failure"]} for line in lines if line["failure"] is not None],
        "seconds_of_speech": round(sum(line.get("generated_seconds", 0.0) for line in answered), 3),
        "measures": measures,
    }


def measures_of(metric: SummedMetric, lines: list[Line]) -> list[MetricValue]:
    """Return the values of a metric over the stored parts of these items."""
    metric.reset()
    metric.add_parts([_part(line["parts"][metric.label.name]) for line in lines])
    return metric.measures()


def _part(stored: Sequence[float] | None) -> NumeratorAndDenominator:
    return None if stored is None else (stored[0], stored[1])


def entries_of(metric: SummedMetric, measures: list[MetricValue], why: str) -> dict[str, dict[str, Any]]:
    """Return entries of ``results.json`` with counts, skipped items and the reason ``why`` as fields."""
    label = metric.label.name
    named = {measure.name: measure for measure in measures}
    skipped = named.pop(label + SKIPPED)
    weight = named.pop(f"{label}.{metric.weight}") if metric.weight else None
    entries = {}
    for name, measure in named.items():
        entries[name] = {
            "value": finite(measure.value),
            "unit": measure.unit,
            "higher_is_better": measure.higher_is_better,
            "count": measure.count,
            "low": finite(measure.low),
            "high": finite(measure.high),
            "skipped": int(skipped.value),
            "skipped_because": why if skipped.value else "",
            "weight": {str(metric.weight): finite(weight.value)} if weight else {},
            "among_all": isinstance(metric, CorpusMetric),
        }
    return entries


def finite(value: float | None) -> float | None:
    """Return a value that JSON can store: None instead of NaN and infinity."""
    return None if value is None or not math.isfinite(value) else float(value)


def logged(results: dict[str, Any]) -> list[MetricValue]:
    """Return all values for MLflow.

    Names are ``<task>/<measure>`` for the system under test and ``<task>/<system>/<measure>`` for the others.
    """
    measures = []
    for task, measured in results["tasks"].items():
        for system, summary in measured["systems"].items():
            prefix = f"{task}/" if system == MODEL else f"{task}/{system}/"
            failures = float(len(summary["failures"]))
            measures.append(MetricValue(prefix + "failures", failures, summary["items"], "items", False))
            for name, entry in summary["measures"].items():
                value = math.nan if entry["value"] is None else entry["value"]
                described = (entry["count"], entry["unit"], entry["higher_is_better"], entry["low"], entry["high"])
                measures.append(MetricValue(prefix + name, value, *described))
    return measures
