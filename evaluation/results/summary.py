"""What an evaluation found, as ``results.json`` has it: measures from the stored parts of all items."""

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
MODEL = "model"  # the system under test; every other one is a reference that stands beside it
Line = dict[str, Any]


def sha256_of(value: Any) -> str:
    """SHA-256 of plain values: of their JSON with sorted keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def complete_parts(lines: list[Line], metrics: Sequence[SummedMetric]) -> None:
    """Give every line the parts of the metrics that look at all items, in place of the traits kept for them."""
    answered = [line for line in lines if line["failure"] is None]
    for metric in metrics:
        if isinstance(metric, CorpusMetric) and all(metric.label.name in line["traits"] for line in answered):
            parts = metric.numerators_and_denominators([line["traits"][metric.label.name] for line in answered])
            for line, part in zip(answered, parts, strict=True):
                line["parts"][metric.label.name] = part
    for line in lines:
        line.pop("traits", None)


def summary_of(lines: list[Line], metrics: Sequence[SummedMetric], absent: dict[str, str]) -> dict[str, Any]:
    """Items, failures and measures of one system in one task; ``absent`` tells why metrics lack evidence, by name."""
    answered = [line for line in lines if line["failure"] is None]
    splits = sorted({line["split"] for line in answered})
    measures: dict[str, Any] = {}
    for metric in metrics:
        name = metric.label.name
        asked = [line for line in answered if name in line["parts"]]
        if not asked:
            continue
        why = absent.get(name, metric.skips)
        measures |= entries_of(metric, measures_of(metric, asked), why)
        for split in splits if metric.by_split and len(splits) > 1 else ():
            of_split = entries_of(metric, measures_of(metric, [line for line in asked if line["split"] == split]), why)
            measures[f"{name}/{split}"] = of_split[name]
    return {
        "items": len(lines),
        "failures": [{"id": line["id"], "reason": line["failure"]} for line in lines if line["failure"] is not None],
        "seconds_of_speech": round(sum(line.get("generated_seconds", 0.0) for line in answered), 3),
        "measures": measures,
    }


def measures_of(metric: SummedMetric, lines: list[Line]) -> list[MetricValue]:
    """What a metric makes of the stored parts of these items."""
    metric.reset()
    metric.add_parts([_part(line["parts"][metric.label.name]) for line in lines])
    return metric.measures()


def _part(stored: Sequence[float] | None) -> NumeratorAndDenominator:
    return None if stored is None else (stored[0], stored[1])


def entries_of(metric: SummedMetric, measures: list[MetricValue], why: str) -> dict[str, dict[str, Any]]:
    """Measures as they stand in the results: what counts or is skipped goes with the measure that it belongs to, with ``why``."""
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
    """What JSON can hold: null where nothing could be measured."""
    return None if value is None or not math.isfinite(value) else float(value)


def logged(results: dict[str, Any]) -> list[MetricValue]:
    """All measures for MLflow: ``<task>/<measure>`` of the system under test, ``<task>/<system>/<measure>`` of the others."""
    measures = []
    for task, found in results["tasks"].items():
        for system, summary in found["systems"].items():
            prefix = f"{task}/" if system == MODEL else f"{task}/{system}/"
            measures.append(
                MetricValue(prefix + "failures", float(len(summary["failures"])), summary["items"], "items", False)
            )
            for name, entry in summary["measures"].items():
                value = math.nan if entry["value"] is None else entry["value"]
                interval = (entry["low"], entry["high"])
                measures.append(
                    MetricValue(
                        prefix + name, value, entry["count"], entry["unit"], entry["higher_is_better"], *interval
                    )
                )
    return measures
