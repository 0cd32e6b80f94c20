"""The ``spectron`` command: reads the command line, calls the verb, prints its result or one clear error."""

from __future__ import annotations

import argparse
import gc
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spectron.cli import verbs
from spectron.errors import Interrupted, SpectronError

PARTS = ("encoder", "language_model", "head", "vocoder", "metric", "judge")
SUCCESS, USER_ERROR, INTERRUPTED = 0, 1, 130
TRAINED = "a checkpoint file, a run (its id, the beginning of its id, its name, its folder), an experiment's name (its newest run)"
MOVED = "model.encoder.class_path=new/my_encoder.py:MyEncoder"
SAVED = f"{TRAINED}, an exported folder, or mini, the model that comes with the project"
SYSTEM = f"{SAVED}; or a YAML that names a class of your own under the key system"


def command() -> int:
    """The command as installed, whose process begins and ends with it.

    Most of a spoken answer's time is imports, and a third of that went to the garbage collector, which walked again and again through
    modules that stay: it is left out where the work is short, and for every verb at the end.
    """
    options = parse(sys.argv[1:])
    if options.verb in (verbs.ask, verbs.continue_speech):
        gc.disable()
    code = run(options)
    gc.freeze()
    return code


def main(arguments: Sequence[str]) -> int:
    """Run the command with these arguments inside of another program; returns the exit code."""
    return run(parse(list(arguments)))


def run(options: argparse.Namespace) -> int:
    """Run a verb; returns the exit code: 0 done, 1 for what the user can mend, 130 interrupted."""
    try:
        _quiet()
        options.verb(options)
    except SpectronError as error:
        if options.debug:
            raise
        print(f"spectron: error: {error}", file=sys.stderr)
        return USER_ERROR
    except Interrupted as stop:
        print(f"\n{stop}", file=sys.stderr)
        return INTERRUPTED
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return INTERRUPTED
    return SUCCESS


def parse(arguments: list[str]) -> argparse.Namespace:
    """The options, with ``key=value`` overrides collected wherever they stand."""
    parser = build_parser()
    options, left = parser.parse_known_args(_separate_resume(arguments))
    unknown = [item for item in left if item.startswith("-") or "=" not in item or not hasattr(options, "overrides")]
    if unknown:
        parser.error(f"unknown argument: {' '.join(unknown)}")
    if hasattr(options, "question") and any("=" not in item for item in options.overrides):
        parser.error(f"put the question in quotes: '{' '.join([options.question, *options.overrides])}'")
    if left:
        options.overrides = [*options.overrides, *left]
    if getattr(options, "suite", None) and "=" in options.suite and not Path(options.suite).exists():
        options.suite, options.overrides = None, [options.suite, *options.overrides]
    if hasattr(options, "prompts"):
        options.overrides += [item for item in map(str, options.prompts) if _is_override(item)]
        options.prompts = [path for path in options.prompts if not _is_override(str(path))]
        if not options.prompts:
            parser.error("name a recording to go on with")
    return options


def build_parser() -> argparse.ArgumentParser:
    """The command line's grammar."""
    about = "Experiments with spoken language models."
    parser = argparse.ArgumentParser(
        prog="spectron", description=about, epilog="spectron VERB --help says more.", allow_abbrev=False
    )
    parser.add_argument("--debug", action="store_true", help="show Python's traceback of an error")
    parser.add_argument(
        "--version", action=_Version, nargs=0, default=argparse.SUPPRESS, help="show the version and exit"
    )
    kinds = parser.add_subparsers(title="verbs", required=True, metavar="VERB")
    for add in (_add_training, _add_speaking, _add_comparing, _add_the_rest):
        add(kinds)
    return parser


def _verb(kinds: Any, name: str, function: Any, help: str, reference: str = "") -> argparse.ArgumentParser:
    """Add a verb, with the options that many of them share."""
    added = kinds.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".", allow_abbrev=False)
    # The default of a verb's own --debug would overwrite one given before the verb.
    added.add_argument(
        "--debug", action="store_true", default=argparse.SUPPRESS, help="show Python's traceback of an error"
    )
    added.set_defaults(verb=function)
    if reference:
        added.add_argument("reference", metavar="MODEL", help=reference)
    if reference or name in ("compare", "reference-curve"):
        added.add_argument("--runs", metavar="FOLDER", help="folder of the runs; by default $SPECTRON_RUNS, or runs")
    return added


def _overridable(added: argparse.ArgumentParser, example: str) -> None:
    added.add_argument("overrides", nargs="*", metavar="key=value", help=f"overrides, such as {example}")


def _add_training(kinds: Any) -> None:
    added = _verb(kinds, "fit", verbs.fit, "train an experiment and evaluate it")
    added.add_argument("file", type=Path, metavar="FILE.yaml")
    _overridable(added, "trainer.max_steps=100")
    added.add_argument(
        "--resume",
        nargs="?",
        const="",
        metavar="RUN",
        help="go on from the last checkpoint of the newest run, or of RUN",
    )
    added = _verb(
        kinds,
        "evaluate",
        verbs.evaluate,
        "put a model to a suite of tasks, or compute its validation metrics again",
        reference=SYSTEM,
    )
    added.add_argument(
        "suite",
        nargs="?",
        metavar="SUITE.yaml",
        help="the suite; without one, the model's own validation is done again",
    )
    _overridable(
        added,
        "judges.text_scorer.init_args.source=gpt2 of the suite, or callbacks.speech.init_args.panel_size=64 of the model",
    )
    added.add_argument(
        "--resume",
        nargs="?",
        const="",
        metavar="RUN",
        help="go on with the newest evaluation of the suite, or with RUN",
    )
    added.add_argument("--device", help="of a suite: cpu, cuda, cuda:1, ...; by default a GPU where there is one")


def _add_speaking(kinds: Any) -> None:
    added = _verb(kinds, "continue", verbs.continue_speech, "continue spoken prompts", reference=SAVED)
    added.add_argument(
        "prompts",
        nargs="+",
        type=Path,
        metavar="PROMPT",
        help=f"recordings at any rate: WAV, FLAC, OGG, MP3; also key=value overrides, such as {MOVED}",
    )
    _add_speaking_options(added, "continuation.wav", "wav to write; a folder for several prompts")
    added.set_defaults(overrides=[])
    added = _verb(kinds, "ask", verbs.ask, "ask a written question aloud, and have it answered aloud", reference=SAVED)
    added.add_argument(
        "question", metavar="QUESTION", help="what to ask, such as 'what is the capital of france'; espeak-ng speaks it"
    )
    added.add_argument(
        "--voice", default="en-us+f1", help="who asks: one of espeak-ng's accents and voice variants (default en-us+f1)"
    )
    _add_speaking_options(added, "answer.wav", "wav to write; the spoken question goes beside it")
    _overridable(added, MOVED)


def _add_comparing(kinds: Any) -> None:
    added = _verb(
        kinds, "compare", verbs.compare, "show runs side by side, or evaluations against the first on the same items"
    )
    added.add_argument(
        "references",
        nargs="+",
        metavar="RUN",
        help="two or more runs, the name of one experiment, or two or more evaluations' folders",
    )
    added.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FOLDER",
        help="also write evaluations' comparison as CSV, Markdown and HTML",
    )
    added.add_argument(
        "--anyway", action="store_true", help="compare evaluations that were not made alike, on the items they share"
    )
    added = _verb(
        kinds,
        "study",
        verbs.study,
        "train and evaluate one experiment changed row by row, with several seeds, into one table",
    )
    added.add_argument("file", type=Path, metavar="STUDY.yaml")
    added.add_argument(
        "--row", action="append", default=[], metavar="ROW", help="only this row; again for another (default all)"
    )
    added.add_argument(
        "--jobs", type=int, metavar="N", help="rows at work at a time (default one a GPU, and one without any)"
    )
    _overridable(added, "seeds=[17]")
    added = _verb(
        kinds,
        "reference-curve",
        verbs.reference_curve,
        "write how runs of a recipe went, for later runs of it to be held against",
    )
    added.add_argument(
        "references", nargs="+", metavar="RUN", help="finished runs of one experiment, as many seeds as there are"
    )
    added.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE.yaml",
        required=True,
        help="file that callbacks.reference_curve then names",
    )


def _add_the_rest(kinds: Any) -> None:
    added = _verb(
        kinds,
        "check",
        verbs.check,
        "build an experiment without training it: parameters of each part, shapes through the model",
    )
    added.add_argument("file", type=Path, metavar="FILE.yaml")
    added.add_argument(
        "--part",
        choices=PARTS,
        help="build this part, or all metrics or judges, and hold it against its contract, line by line",
    )
    _overridable(added, "model.head.init_args.frames_per_step=2")
    added = _verb(kinds, "prepare", verbs.prepare, "write manifests")
    _add_sources(added.add_subparsers(title="sources", required=True, metavar="SOURCE", dest="source"))
    added = _verb(
        kinds,
        "export",
        verbs.export,
        "write a model as safetensors and a config.yaml that build it again",
        reference=SAVED,
    )
    added.add_argument("folder", type=Path, help="folder to write")
    _overridable(added, f"{MOVED}, where a class' file has moved")
    added.add_argument("--half", action="store_true", help="store 16-bit floats: half the size")


class _Version(argparse.Action):
    """Argparse's own action wants the version at every start, and reading it takes most of the time that the help takes."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        """Print it and exit."""
        from importlib.metadata import version

        print(f"{parser.prog} {version('spectron-slm')}")
        parser.exit()


def _add_speaking_options(added: argparse.ArgumentParser, output: str, help: str) -> None:
    added.add_argument("-o", "--output", type=Path, default=Path(output), help=f"{help} (default {output})")
    added.add_argument("--max-seconds", type=float, default=10.0, help="longest speech (default 10)")
    added.add_argument(
        "--temperature",
        type=float,
        default=0.0,
        help="0, the default, takes the likeliest text; above, text is sampled",
    )
    added.add_argument(
        "--chain",
        choices=("trained", "none", "filler"),
        default="trained",
        help="what comes before the speech: the text that the model writes (default), no text, or a few tokens that say nothing (null)",
    )
    added.add_argument(
        "--seed",
        type=int,
        default=0,
        help="seed of all that is sampled, text and pre-net dropout, together with the name of the prompt (default 0)",
    )
    added.add_argument("--device", help="cpu, cuda, cuda:1, ...; by default a GPU where there is one")


def _add_sources(sources: Any) -> None:
    """The arguments of each source, which are those of its function in ``spectron.datamodules.prepare``."""

    def source(name: str, help: str, given: str, given_help: str | None = None) -> argparse.ArgumentParser:
        added = sources.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".", allow_abbrev=False)
        added.add_argument(given, type=Path, help=given_help)
        if name != "synthetic":
            added.add_argument("output", type=Path, help="manifest to write, such as data/manifest.jsonl")
        return added

    source("librispeech", "LibriSpeech's folders", "folder", "the LibriSpeech folder")
    source("folder", "audio files with a text file of the same name beside each", "folder")
    source("synthetic", "the synthetic world, spoken by espeak-ng", "folder", "folder to write")
    source(
        "llama_questions",
        "LLaMA-Questions: 300 spoken questions",
        "folder",
        "the published folder: a table and its recordings",
    )
    source(
        "pairs",
        "right and wrong recordings: sWUGGY, sBLIMP, StoryCloze, SALMon",
        "folder",
        "a folder as it was published",
    )
    added = source("questions", "written questions: WebQuestions, TriviaQA", "file", "JSON or JSON lines")
    added.add_argument(
        "--split", default="test", help="the split to call them, and to take where the file names splits (default test)"
    )
    added.add_argument(
        "--speech",
        type=Path,
        metavar="FOLDER",
        help="recordings <id>.wav, .flac, ...; by default espeak-ng speaks them",
    )
    added.add_argument("--limit", type=int, metavar="N", help="take the first N questions only")


def _is_override(item: str) -> bool:
    """Whether a word that may be a recording is an override."""
    return re.match(r"\w+(\.\w+)+=", item) is not None and not Path(item).exists()


def _separate_resume(arguments: list[str]) -> list[str]:
    """Keep ``--resume`` from taking a file or an override that follows it for its run."""
    separated = []
    for place, item in enumerate(arguments):
        following = arguments[place + 1] if place + 1 < len(arguments) else "-"
        alone = item == "--resume" and (
            "=" in following or following.startswith("-") or following.endswith((".yaml", ".yml"))
        )
        separated.append("--resume=" if alone else item)
    return separated


def _quiet() -> None:
    """Silence what the libraries say to their own users: advertisements, and their deprecations among each other."""
    import logging
    import warnings

    warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\).*")
    warnings.filterwarnings("ignore", message=r"Found \d+ module\(s\) in eval mode")  # frozen parts are meant to be
    chatter = ("💡 Tip", "GPU available", "TPU available", "HPU available")
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.rank_zero"):
        logging.getLogger(name).addFilter(lambda record: not record.getMessage().startswith(chatter))


if __name__ == "__main__":
    sys.exit(command())
