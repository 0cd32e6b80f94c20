"""The verbs of the ``spectron`` command: each does its work and prints the result."""

from __future__ import annotations

# Nothing heavy up here: `spectron --help` has to answer at once, and torch alone takes seconds. Every verb imports what it needs.
import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spectron.errors import ConfigError

if TYPE_CHECKING:
    from torch import device

    from spectron.cli.continuing import Recording
    from spectron.contracts import Decoding
    from spectron.experiment.experiment import Experiment
    from spectron.experiment.fitting import Outcome
    from spectron.experiment.loading import Source
    from spectron.tracking.store import TrackingSettings

LEFT_OUT_SHOWN = 20
# What there is to do with a file that an outcome names, by its suffix.
WORTH = {".wav": "Listen", ".png": "Look", ".html": "Read"}


def fit(options: argparse.Namespace) -> None:
    """Train an experiment."""
    from spectron.experiment.experiment import Experiment
    from spectron.experiment.fitting import fit

    outcome = fit(Experiment.read(options.file, options.overrides), options.resume)
    _print_outcome(outcome)
    if not outcome.measures:
        print(f"Nothing was validated: `spectron evaluate {outcome.run_id}` measures the model as it is")


def evaluate(options: argparse.Namespace) -> None:
    """Put a model to a suite, or compute the validation metrics again."""
    if options.suite:
        _evaluate_suite(options)
        return
    from spectron.experiment.fitting import evaluate
    from spectron.experiment.loading import load_experiment

    for option in ("device", "resume"):
        if getattr(options, option) is not None:
            raise ConfigError(
                f"--{option} is for a suite, and there is none: name one behind the model, or leave --{option} out"
            )

    source = _source(options)
    if source.is_export:
        raise ConfigError(
            f"{source.path} describes a model without data to evaluate it on. Write a YAML that extends it, and fit that."
        )
    overrides = [*options.overrides, *([f"tracking.folder={options.runs}"] if options.runs else [])]
    _print_outcome(evaluate(load_experiment(source, overrides), source, changed=bool(options.overrides)))


def _evaluate_suite(options: argparse.Namespace) -> None:
    """Put a system to a suite."""
    import importlib

    from spectron.tracking.measure import console

    # By name: evaluation builds on spectron, so nothing in spectron imports it but for this verb at the very end.
    running = importlib.import_module("spectron.evaluation.suites.evaluating")
    places = (options.overrides, options.runs, options.resume, options.device)
    outcome = running.evaluate_suite(options.reference, Path(options.suite), *places)
    if outcome is not None:  # of several processes, the first one speaks
        for shown in running.tables_of(outcome.results):
            console().print(shown, markup=False, highlight=False, soft_wrap=isinstance(shown, str))
        _print_outcome(outcome)


def continue_speech(options: argparse.Namespace) -> None:
    """Continue spoken prompts."""
    from spectron.cli.continuing import output_files, read_prompts

    files = output_files(options.prompts, options.output)
    prompts = read_prompts(options.prompts)  # before the model: that takes longer to load than a wrong path is worth
    _speak(options, _means(options), prompts, files)


def ask(options: argparse.Namespace) -> None:
    """Speak a written question, and let a model answer it aloud."""
    import importlib

    from spectron.audio.io import write_wav
    from spectron.cli.continuing import output_files, read_prompts

    # By name: data modules build on spectron, so nothing in spectron imports them but for the verbs.
    voices = importlib.import_module("spectron.datamodules.synthetic.voices")
    speech = voices.speak(options.question, voices.voice_called(options.voice), voices.Prosody())
    [file] = output_files([Path("answer")], options.output)
    # All that may be refused comes before the question is written: a refused one leaves nothing behind.
    means = _means(options)
    asked = file.with_name(f"{file.stem}-question.wav")
    write_wav(asked, speech.waveform, voices.SAMPLE_RATE_HZ)
    _speak(options, means, read_prompts([asked]), [file], options.question)


def _means(options: argparse.Namespace) -> tuple[Decoding, device, Source]:
    """How to decode, where, and by which model, as the command line says; the model is not loaded yet."""
    from spectron.contracts import Decoding
    from spectron.devices import device_called

    try:
        decoding = Decoding(
            max_seconds=options.max_seconds, seed=options.seed, temperature=options.temperature, chain=options.chain
        )
    except ValueError as error:
        raise ConfigError(f"decoding: {error}") from error
    return decoding, device_called(options.device), _source(options)


def _speak(
    options: argparse.Namespace,
    means: tuple[Decoding, device, Source],
    prompts: list[Recording],
    files: list[Path],
    asked: str = "",
) -> None:
    """Load the model, continue the prompts, and tell what was said, and where that is not what was ``asked``."""
    import importlib

    from spectron.cli.continuing import speak
    from spectron.experiment.loading import load_module

    # By name: evaluation builds on spectron, so nothing in spectron imports it but for the verbs.
    normalize = importlib.import_module("spectron.evaluation.metrics.normalizer").normalize
    decoding, place, source = means
    module = load_module(source, overrides=options.overrides).to(place)
    for spoken in speak(module, prompts, files, decoding):
        print(f"\nPrompt:       {spoken.prompt}")
        if spoken.transcript is None or spoken.continuation is None:
            print(f"Text:         {spoken.text or '(none)'}")
        else:
            print(f"Transcript:   {spoken.transcript or '(none)'}")
            if asked and normalize(asked) != normalize(spoken.transcript):
                print(
                    f"Asked:        {asked} (heard otherwise: a model hears such questions as it was trained on, in their words)"
                )
            print(f"Continuation: {spoken.continuation or '(none)'}")
        cut = "" if spoken.stopped else ", cut off at --max-seconds"
        print(f"Speech:       {spoken.wav} ({spoken.seconds:.2f} s{cut})\nPicture:      {spoken.picture}")
    print(f"\nModel:        {source.path}")


def compare(options: argparse.Namespace) -> None:
    """Show runs side by side."""
    from spectron.tracking.measure import console
    from spectron.tracking.run_comparison import compare, evaluation_folders, render

    if folders := evaluation_folders(options.references, _tracking(options)):
        _compare_evaluations(folders, options)
        return
    if options.output or options.anyway:
        raise ConfigError(
            f"--output and --anyway are for evaluations, and {', '.join(options.references)} holds none: leave them out"
        )
    console().print(render(compare(options.references, _tracking(options))))


def _compare_evaluations(folders: list[Path], options: argparse.Namespace) -> None:
    import importlib

    from spectron.tracking.measure import console

    # By name: evaluation builds on spectron, so nothing in spectron imports it but for the verbs.
    comparison = importlib.import_module("spectron.evaluation.comparison")
    compared = comparison.compare_evaluations(folders, options.anyway)
    console().print(comparison.render(compared))
    for path in comparison.write_comparison(compared, options.output) if options.output else []:
        print(path)


def study(options: argparse.Namespace) -> None:
    """Train and evaluate the rows of a study, and show its table."""
    import importlib

    from spectron.tracking.measure import console

    # By name: evaluation builds on spectron, so nothing in spectron imports it but for the verbs.
    studies = importlib.import_module("spectron.evaluation.study")
    outcome = studies.run_study(options.file, options.overrides, options.jobs, options.row)
    console().print(studies.render(outcome.table))
    for line in studies.verdict_lines(outcome.table):
        print(line)
    for path in outcome.files:
        print(path)


def check(options: argparse.Namespace) -> None:
    """Build everything without training, or one part to examine it."""
    from spectron.cli.tables import parts_table, resolved_table, shapes_table
    from spectron.experiment.experiment import Experiment
    from spectron.experiment.fitting import inspect_experiment
    from spectron.tracking.measure import console

    experiment = Experiment.read(options.file, options.overrides)
    if options.part:
        _check_part(experiment, options.part)
        return
    counts, shapes = inspect_experiment(experiment)
    console().print(parts_table(counts), resolved_table(experiment.config["resolved"]), shapes_table(shapes))
    print(f"{options.file} is ready: spectron fit {options.file}")


def _check_part(experiment: Experiment, name: str) -> None:
    """Print each verdict as soon as it is known.

    Raises:
        ConfigError: if a check fails.
    """
    from spectron.cli.tables import verdict_line
    from spectron.experiment.part_check import named_parts
    from spectron.tracking.measure import console

    failures = []
    for part in named_parts(experiment, name):
        class_path = part.class_path.removeprefix(f"{Path.cwd()}/")
        console().print(f"{part.key.removeprefix('model.')}: {class_path}", markup=False, highlight=False)
        failed = []
        for verdict in part.verdicts():
            console().print(verdict_line(verdict), highlight=False)
            failed += [verdict.name] if verdict.passed is False else []
        failures += [f"{part.key}: {class_path} fails {', '.join(failed)}"] if failed else []
    if failures:
        raise ConfigError("; ".join(failures))


def prepare(options: argparse.Namespace) -> None:
    """Write manifests."""
    import importlib

    # By name: datamodules build on spectron, so nothing in spectron imports them but for this verb at the very end.
    sources = importlib.import_module("spectron.datamodules.prepare")
    given = {name: value for name, value in vars(options).items() if name not in ("verb", "source", "debug")}
    done = getattr(sources, f"prepare_{options.source}")(**given)
    for manifest in done.manifests:
        print(f"Manifest: {manifest}")
    splits = ", ".join(f"{name} {count}" for name, count in done.splits.items())
    print(f"{done.items} {done.unit}, {done.hours:.2f} hours ({splits})")
    for name, reason in list(done.skipped.items())[:LEFT_OUT_SHOWN]:
        print(f"Left out: {name}: {reason}")
    if done.skipped:
        print(
            f"{len(done.skipped)} left out"
            + (f", the first {LEFT_OUT_SHOWN} shown" if len(done.skipped) > LEFT_OUT_SHOWN else "")
        )


def reference_curve(options: argparse.Namespace) -> None:
    """Write the reference curves of a recipe."""
    from spectron.tracking.reference_curves import write_reference_curve

    print(write_reference_curve(options.references, options.output, _tracking(options)))


def export(options: argparse.Namespace) -> None:
    """Write a model's parts."""
    from spectron.experiment.loading import load_experiment, restore
    from spectron.weights.exporting import export_parts

    source = _source(options)
    experiment = load_experiment(source, options.overrides, model_only=True)
    module: Any = restore(experiment, source)
    for path in export_parts(module.model, experiment.config, options.folder, half=options.half):
        print(path)


def _tracking(options: argparse.Namespace) -> TrackingSettings:
    from spectron.tracking.store import TrackingSettings

    return TrackingSettings(folder=options.runs)


def _source(options: argparse.Namespace) -> Source:
    from spectron.experiment.loading import find_source

    return find_source(options.reference, _tracking(options))


def _print_outcome(outcome: Outcome) -> None:
    """The end of a run: measures, files worth a look, and how to see all of it."""
    from spectron.cli.tables import measures_table
    from spectron.tracking.measure import console

    if outcome.measures:
        console().print(measures_table(outcome.measures))
    for path in outcome.headlines:
        print(f"{WORTH.get(path.suffix, 'File')}: {path}")
    print(f"Run {outcome.run_id} in {outcome.folder}\nMLflow: {outcome.ui_command}")
