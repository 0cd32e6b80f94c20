"""The verbs of the ``spectron`` command: each does its work and prints the result."""

from __future__ import annotations

# Nothing heavy up here: `spectron --help` has to answer at once, and torch alone takes seconds. Every verb imports what
# it needs.
import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from spectron.errors import ConfigError, WriteError
from spectron.terminal import say

if TYPE_CHECKING:
    from torch import device

    from spectron.decoding import Decoding
    from spectron.experiment.experiment import Experiment
    from spectron.experiment.fitting import Outcome
    from spectron.experiment.loading import Source
    from spectron.tracking.store import TrackingSettings

LEFT_OUT_SHOWN = 20
# What there is to do with a file that an outcome names, by its suffix.
WORTH = {".wav": "Listen", ".png": "Look", ".html": "Read"}


def fit(options: argparse.Namespace) -> None:
    """Train an experiment."""
    from spectron.config.recipes import find_recipe
    from spectron.experiment.experiment import Experiment
    from spectron.experiment.fitting import fit
    from spectron.processes.ranks import rank

    outcome = fit(Experiment.read(find_recipe(options.file), options.overrides, trust=options.trust), options.resume)
    _print_outcome(outcome)
    if not outcome.measures and rank() == 0:
        say(f"Nothing was validated: `spectron evaluate {outcome.run_id}` measures the model as it is")


def evaluate(options: argparse.Namespace) -> None:
    """Evaluate a model on a suite, or compute its validation metrics again."""
    if options.suite:
        _evaluate_on_suite(options)
        return
    from spectron.experiment.fitting import evaluate
    from spectron.experiment.loading import load_experiment

    for option in ("device", "resume"):
        if getattr(options, option) is not None:
            raise ConfigError(
                f"needs a suite. Name a suite after the model, or leave out --{option}", key=f"--{option}"
            )
    source = _source(options)
    if source.is_export:
        raise ConfigError(
            f"{source.path} describes a model without data to evaluate it on. Name a suite: "
            f"spectron evaluate {options.reference} SUITE"
        )
    overrides = [*options.overrides, *([f"tracking.folder={options.runs}"] if options.runs else [])]
    _print_outcome(
        evaluate(load_experiment(source, overrides, trust=options.trust), source, changed=bool(options.overrides))
    )


def _evaluate_on_suite(options: argparse.Namespace) -> None:
    from spectron.config.recipes import find_recipe
    from spectron.evaluation.suites.evaluating import evaluate_suite, tables_of
    from spectron.tracking.measure import console

    suite = find_recipe(options.suite)
    outcome = evaluate_suite(
        options.reference,
        suite,
        options.overrides,
        runs=options.runs,
        resume=options.resume,
        device=options.device,
        trust=options.trust,
    )
    if outcome is None:
        return
    for shown in tables_of(outcome.results):
        if isinstance(shown, str):
            say(shown)
        else:
            console().print(shown, highlight=False)
    _print_outcome(outcome)


def continue_speech(options: argparse.Namespace) -> None:
    """Continue spoken prompts."""
    from spectron.cli.continuing import output_files, write_answer
    from spectron.experiment.loading import load_speaker
    from spectron.inference.speaker import read_prompts

    files = output_files(options.prompts, options.output)
    prompts = read_prompts(options.prompts)  # before the model: loading it takes longer than finding a wrong path
    decoding, device, source = _decoding(options), _device(options), _source(options)
    answers = (
        load_speaker(source, options.overrides, options.trust).to(device).continue_speech(prompts, decoding=decoding)
    )
    failed: WriteError | None = None
    for path, answer, file in zip(options.prompts, answers, files, strict=True):
        try:
            write_answer(path, answer, file)
        except WriteError as error:  # the other answers are given all the same
            failed = failed or error
    if failed is not None:
        raise failed
    say("", f"Model:        {source.path}")


def ask(options: argparse.Namespace) -> None:
    """Speak a written question, and let a model answer it aloud."""
    from spectron.audio.io import write_wav
    from spectron.cli.continuing import output_files, write_answer
    from spectron.datamodules.synthetic.voices import SAMPLE_RATE_HZ, Prosody, speak, voice_called
    from spectron.experiment.loading import load_speaker

    # Whatever may be refused is checked before the question is written: a refused one leaves no file.
    speech = speak(options.question, voice_called(options.voice), Prosody())
    [file] = output_files([Path("answer")], options.output)
    decoding, device, source = _decoding(options), _device(options), _source(options)
    question = file.with_name(f"{file.stem}-question.wav")
    write_wav(question, speech.waveform, SAMPLE_RATE_HZ)
    answer = (
        load_speaker(source, options.overrides, options.trust).to(device).continue_speech(question, decoding=decoding)
    )
    write_answer(question, answer, file, options.question)
    say("", f"Model:        {source.path}")


def _decoding(options: argparse.Namespace) -> Decoding:
    from spectron.decoding import Decoding

    try:
        return Decoding(
            max_text_tokens=options.max_text_tokens,
            max_seconds=options.max_seconds,
            seed=options.seed,
            temperature=options.temperature,
            text=options.text,
        )
    except ConfigError as error:
        raise error.within("decoding") from error


def _device(options: argparse.Namespace) -> device:
    from spectron.devices import device_called

    return device_called(options.device)


def compare(options: argparse.Namespace) -> None:
    """Print runs next to each other, or evaluations."""
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
    from spectron.evaluation.comparison import compare_evaluations, render, write_comparison
    from spectron.tracking.measure import console

    compared = compare_evaluations(folders, options.anyway)
    console().print(render(compared))
    for path in write_comparison(compared, options.output) if options.output else []:
        say(path)


def study(options: argparse.Namespace) -> None:
    """Train and evaluate the rows of a study, and print its table."""
    from spectron.config.recipes import find_recipe
    from spectron.evaluation.study import render, run_study, verdict_lines
    from spectron.tracking.measure import console

    outcome = run_study(find_recipe(options.file), options.overrides, options.jobs, options.row, options.trust)
    console().print(render(outcome.table))
    for line in verdict_lines(outcome.table):
        say(line)
    for path in outcome.files:
        say(path)


def recipes(options: argparse.Namespace) -> None:
    """List the recipes of the package."""
    from spectron.cli.tables import recipes_table
    from spectron.config.recipes import list_recipes
    from spectron.tracking.measure import console

    console().print(recipes_table(list_recipes()))


def copy(options: argparse.Namespace) -> None:
    """Copy a recipe to start an experiment from."""
    from spectron.config.recipes import copy_recipe

    say(copy_recipe(options.recipe, options.folder))


def check(options: argparse.Namespace) -> None:
    """Build everything without training, or examine one part."""
    from spectron.cli.tables import parts_table, resolved_table, shapes_table
    from spectron.config.recipes import find_recipe
    from spectron.experiment.experiment import Experiment
    from spectron.experiment.fitting import inspect_experiment
    from spectron.tracking.measure import console

    experiment = Experiment.read(find_recipe(options.file), options.overrides, trust=options.trust)
    if options.part:
        _check_part(experiment, options.part)
        return
    counts, shapes = inspect_experiment(experiment)
    console().print(parts_table(counts), resolved_table(experiment.config["resolved"]), shapes_table(shapes))
    say(f"{options.file} is ready: spectron fit {options.file}")


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
        say(f"{part.key.removeprefix('model.')}: {class_path}")
        failed = []
        for verdict in part.verdicts():
            console().print(verdict_line(verdict), highlight=False)
            failed += [verdict.name] if verdict.passed is False else []
        failures += [f"{part.key}: {class_path} fails {', '.join(failed)}"] if failed else []
    if failures:
        raise ConfigError("; ".join(failures))


def look(options: argparse.Namespace) -> None:
    """Write a page of the first items of an experiment's data as its model reads them."""
    from spectron.evaluation.look import look, write_look

    if options.output.is_dir():
        raise ConfigError(f"-o {options.output}: this is a folder. Name a file in it, such as look.html")
    device, (experiment, source) = _device(options), _experiment(options)
    looked = look(experiment, options.items, options.split, source, device)
    say(f"Page: {write_look(looked, options.output, options.reference)}")


def _experiment(options: argparse.Namespace) -> tuple[Experiment, Source | None]:
    """Return the experiment of a YAML or a recipe, or that of a checkpoint or a run together with the checkpoint."""
    from spectron.config.recipes import find_recipe, is_experiment_recipe
    from spectron.experiment.experiment import Experiment
    from spectron.experiment.loading import load_experiment

    path = Path(options.reference)
    if path.suffix in (".yaml", ".yml") or (not path.exists() and is_experiment_recipe(options.reference)):
        return Experiment.read(find_recipe(path), options.overrides, trust=options.trust), None
    source = _source(options)
    if source.is_export:
        raise ConfigError(
            f"{source.path} describes a model without data to look at. Name a checkpoint, or a YAML with data that "
            "starts from this model"
        )
    return load_experiment(source, options.overrides, trust=options.trust), source


def prepare(options: argparse.Namespace) -> None:
    """Write the manifest of a corpus."""
    from spectron.datamodules import prepare

    given = {name: value for name, value in vars(options).items() if name not in ("verb", "source", "debug")}
    done = getattr(prepare, f"prepare_{options.source}")(**given)
    for manifest in done.manifests:
        say(f"Manifest: {manifest}")
    splits = ", ".join(f"{name} {count}" for name, count in done.splits.items())
    say(f"{done.items} {done.unit}, {done.hours:.2f} hours ({splits})")
    for name, reason in list(done.skipped.items())[:LEFT_OUT_SHOWN]:
        say(f"Left out: {name}: {reason}")
    if done.skipped:
        say(
            f"{len(done.skipped)} left out"
            + (f", the first {LEFT_OUT_SHOWN} shown" if len(done.skipped) > LEFT_OUT_SHOWN else "")
        )


def reference_curve(options: argparse.Namespace) -> None:
    """Write the reference curves of an experiment."""
    from spectron.tracking.reference_curves import write_reference_curve

    say(write_reference_curve(options.references, options.output, _tracking(options)))


def export(options: argparse.Namespace) -> None:
    """Write a model's parts and a ``config.yaml`` that builds the model again."""
    from spectron.experiment.loading import load_experiment, restore
    from spectron.inference.model_config import model_of
    from spectron.weights.exporting import export_parts

    source = _source(options)
    experiment = load_experiment(source, options.overrides, model_only=True, trust=options.trust)
    model = model_of(restore(experiment, source))
    for path in export_parts(model, experiment.stored_config, options.folder, half=options.half):
        say(path)


def _tracking(options: argparse.Namespace) -> TrackingSettings:
    from spectron.tracking.store import TrackingSettings

    return TrackingSettings(folder=options.runs)


def _source(options: argparse.Namespace) -> Source:
    from spectron.experiment.loading import find_source

    return find_source(options.reference, _tracking(options))


def _print_outcome(outcome: Outcome) -> None:
    """Print the results of a run, its most important files, and the command that opens MLflow; in the first process."""
    from spectron.cli.tables import measures_table
    from spectron.processes.ranks import rank
    from spectron.tracking.measure import console

    if rank() > 0:
        return
    if outcome.measures:
        console().print(measures_table(outcome.measures))
    for path in outcome.headlines:
        say(f"{WORTH.get(path.suffix, 'File')}: {path}")
    say(f"Run {outcome.run_id} in {outcome.folder}", f"MLflow: {outcome.ui_command}")
