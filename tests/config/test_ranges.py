"""Ranges of settings: every number that a configuration can set has one, in a YAML as in Python."""

import importlib
import inspect
import math
import pkgutil
from collections.abc import Callable
from dataclasses import is_dataclass
from typing import Annotated, Literal, get_args, get_origin

import pytest
from lightning import LightningModule
from places import TINY

import spectron
from spectron.config.classes import parameters
from spectron.errors import ConfigError
from spectron.evaluation.study.study import SECTIONS as STUDY
from spectron.evaluation.suites.suite import SECTIONS as SUITE
from spectron.evaluation.systems.under_test import SECTIONS as SYSTEM
from spectron.experiment.experiment import SECTIONS as EXPERIMENT
from spectron.experiment.experiment import Experiment
from spectron.ranges import Count, Positive, Proportion, Range, checks_ranges, outside

DOCUMENTS = {"experiment": EXPERIMENT, "suite": SUITE, "study": STUDY, "system": SYSTEM}


def _types(hint):
    """Yield all types in a type hint; of a callable, what it returns: the platform gives its arguments."""
    if get_origin(hint) is Callable:
        yield from _types(get_args(hint)[1])
    elif isinstance(hint, list | tuple) or get_args(hint):
        for argument in hint if isinstance(hint, list | tuple) else get_args(hint):
            yield from _types(argument)
    elif isinstance(hint, type):
        yield hint


def _settings_classes():
    """Return every class of the package that a document can name or whose arguments it can hold."""
    for module in pkgutil.walk_packages(spectron.__path__, "spectron."):
        if "recipes" not in module.name and not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    queue = [
        LightningModule,
        *(kind for schema in DOCUMENTS.values() for p in schema.values() for kind in _types(p.hint)),
    ]
    found = []
    for cls in queue:
        queue += [other for other in cls.__subclasses__() if other not in queue and cls.__module__ != "builtins"]
        own = cls.__module__.startswith("spectron.") and (is_dataclass(cls) or not inspect.isabstract(cls))
        if own and cls not in found:
            found.append(cls)
            queue += [kind for p in parameters(cls).values() for kind in _types(p.hint) if kind not in queue]
    return found


CLASSES = _settings_classes()
NUMBERS = [
    (cls, name)
    for cls in CLASSES
    for name, parameter in parameters(cls).items()
    if {int, float} & {*_types(parameter.hint)}
]


def _ranges(hint):
    """Yield the type and the range of every number in a hint with ranges; None for a number without a range."""
    arguments = get_args(hint)
    if hint in (int, float):
        yield hint, None
    elif hint is not None and arguments and isinstance(arguments[-1], Range):
        yield arguments[0], arguments[-1]
    elif get_args(hint):
        for argument in arguments:
            yield from _ranges(argument)


def test_walk_reaches_all_kinds_of_settings():
    names = {cls.__name__ for cls in CLASSES}
    kinds = "Optimisation Batching Decoding MelConfig SpectrogramLossSettings PretrainedEncoder LoraSettings "
    kinds += "GriffinLimVocoder SpeechEvaluation CheckpointSettings SpokenQuestions CorpusSettings SpectronModule"
    assert {*kinds.split()} <= names


@pytest.mark.parametrize(("cls", "name"), NUMBERS, ids=lambda value: getattr(value, "__name__", value))
def test_number_has_range_that_holds_its_default(cls, name):
    parameter = parameters(cls)[name]
    assert parameter.declared is not None, f"{cls.__name__}.{name} declares no range"
    assert all(allowed is not None for _, allowed in _ranges(parameter.declared)), parameter.declared
    if not parameter.required:
        assert outside(parameter.default, parameter.declared) is None


def _wrong(declared):
    """Return a value of a hint whose numbers are outside their range, for each kind of number, and NaN for floats."""
    for kind, allowed in _ranges(declared):
        if math.isfinite(allowed.low):
            yield kind(allowed.low) if allowed.open_low else kind(allowed.low) - 1
        if math.isfinite(allowed.high):
            yield kind(allowed.high) if allowed.open_high else kind(allowed.high) * 2 + 1
        if kind is float:
            yield from (math.nan, math.inf, -math.inf)


def _placed(number, hint):
    """Return the number in the shape that a hint asks for: alone, in a list or tuple, or in a dict."""
    text = str(hint)
    if "dict[" in text:
        return {"some": number}
    return [number] if text.startswith("list[") or (text.startswith("tuple[") and "..." in text) else number


@pytest.mark.parametrize(("cls", "name"), NUMBERS, ids=lambda value: getattr(value, "__name__", value))
def test_class_refuses_number_outside_range_in_python(cls, name):
    declared = parameters(cls)[name].declared
    assert declared is not None
    given = {other: object() for other, parameter in parameters(cls).items() if parameter.required}
    for number in _wrong(declared):
        with pytest.raises(ConfigError) as raised:
            cls(**given | {name: _placed(number, declared)})
        assert raised.value.key.split(".")[0] == name
        assert raised.value.allowed


@pytest.mark.parametrize(
    ("override", "key", "allowed"),
    [
        ("seed=-1", "seed", "at least 0 and at most 4294967295"),
        ("seed=5_000_000_000", "seed", "at least 0 and at most 4294967295"),
        ("model.width=65", "model.width", "at least 1 and at most 64"),
        ("model.speed.rate=.nan", "model.speed.rate", ""),
        ("model.sizes=[4, 0]", "model.sizes.1", "at least 1 and at most 1048576"),
        ("model.free=.inf", "model.free", ""),
        ("model.free={deep: [1, {deeper: .nan}]}", "model.free.deep.1.deeper", ""),
        ("checkpoints.keep=-1", "checkpoints.keep", "at least 0"),
    ],
)
def test_configuration_refuses_number_outside_range(override, key, allowed):
    with pytest.raises(ConfigError) as raised:
        Experiment.read(TINY, [override])
    assert (raised.value.key, raised.value.origin) == (key, "the command line")
    assert raised.value.allowed == ((allowed,) if allowed else ())


@checks_ranges
class _Base:
    def __init__(self, width: Count, share: Proportion = 0.5) -> None:
        self.width = width


@checks_ranges
class _Derived(_Base):
    def __init__(self, extra: Annotated[int, Range(0, 3)] | Annotated[float, Range(0, 1)], **others: int) -> None:
        super().__init__(**others)


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        ({"extra": 4, "width": 1}, "extra"),
        ({"extra": 1.5, "width": 1}, "extra"),
        ({"extra": 3, "width": 0}, "width"),
        ({"extra": 3, "width": 1, "share": math.nan}, "share"),
    ],
)
def test_argument_passed_on_to_base_class_is_checked(arguments, key):
    with pytest.raises(ConfigError) as raised:
        _Derived(**arguments)
    assert raised.value.key == key
    assert _Derived(extra=3, width=1).width == _Derived(0.5, width=1).width == 1


@pytest.mark.parametrize(
    ("value", "hint", "path"),
    [
        (0.0, Positive, ()),
        (math.inf, Positive, ()),
        ([1, 0], list[Count], ("1",)),
        ((0.5, 2.0), Proportion | tuple[Proportion, Proportion], ("1",)),
        ({"a": {"b": -1}}, dict[str, dict[str, Count]], ("a", "b")),
        ("text", Count | str, None),
        (True, Count | bool, None),
        (None, Count | None, None),
        ("last", Count | Literal["last"], None),
        ([], list[Count], None),
        (1, Annotated[float, Range(0, 1)], None),
    ],
)
def test_outside_finds_number_within_value(value, hint, path):
    found = outside(value, hint)
    assert (found and found.path) == path


@pytest.mark.parametrize(
    ("allowed", "text"),
    [
        (Range(0), "at least 0"),
        (Range(0, 1, open_low=True), "above 0 and at most 1"),
        (Range(high=2.5, open_high=True), "below 2.5"),
        (Range(), "finite"),
    ],
)
def test_range_is_shown_in_words(allowed, text):
    assert str(allowed) == text
