"""The ``spectron`` command: parses the command line, calls the verb, and prints its result or one error."""

from __future__ import annotations

import argparse
import gc
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from spectron import __version__
from spectron.cli import verbs
from spectron.errors import EndedByAnother, Interrupted, SpectronError
from spectron.files import machine_error
from spectron.processes.children import end_with_parent, environment_rank, interrupted_by_sigterm
from spectron.terminal import protect_terminal, say, visible

PARTS = ("encoder", "language_model", "head", "vocoder", "segment", "tokenizer", "metric", "judge")
SUCCESS, USER_ERROR, INTERRUPTED = 0, 1, 130
TRAINED = (
    "a checkpoint file, a run (its id, the first characters of its id, its name, its "
    "folder), an experiment's name (its newest run)"
)
RECIPE = "or the name of a recipe, such as"
MOVED = "model.encoder.class_path=new/my_encoder.py:MyEncoder"
SAVED = f"{TRAINED}, an exported folder, or mini, the bundled model"
SYSTEM = f"{SAVED}; or a YAML whose key system names your own class"


def command() -> int:
    """Run the installed command, whose process begins and ends with it; returns the exit code.

    Most of the time of a spoken answer is imports, and the garbage collector took a third of that: it searched modules
    that are never freed. It is therefore disabled for short work and, for every verb, at the end.
    """
    options = parse(sys.argv[1:])
    if options.verb in (verbs.ask, verbs.continue_speech):
        gc.disable()
    code = run(options)
    gc.freeze()
    return code


def main(arguments: Sequence[str]) -> int:
    """Run the command with these arguments inside another program; returns the exit code."""
    return run(parse(list(arguments)))


def run(options: argparse.Namespace) -> int:
    """Run a verb; returns the exit code: 0 done, 1 for an error that the user can correct, 130 interrupted.

    Of several processes, only the first one reports an error that ends all of them.
    """
    end_with_parent()
    protect_terminal()
    try:
        _quiet()
        with interrupted_by_sigterm():
            options.verb(options)
    except EndedByAnother:
        # A failure here would let Lightning kill the first process, which still has to report its error.
        return SUCCESS
    except Interrupted as stop:
        say("", *str(stop).split("\n"), error=True)
        return INTERRUPTED
    except KeyboardInterrupt:
        say("", "Stopped.", error=True)
        return INTERRUPTED
    except Exception as error:
        known = error if isinstance(error, SpectronError) else machine_error(error)
        if options.debug or known is None:
            raise
        say(*f"spectron: error: {known}".split("\n"), error=True)
        return USER_ERROR
    return SUCCESS


def parse(arguments: list[str]) -> argparse.Namespace:
    """Parse the options, and collect ``key=value`` overrides from any position."""
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
            parser.error("name a recording to continue")
    return options


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    about = "Experiments with spoken language models."
    parser = _Parser(
        prog="spectron", description=about, epilog="spectron VERB --help describes a verb.", allow_abbrev=False
    )
    parser.add_argument("--debug", action="store_true", help="show Python's traceback of an error")
    parser.add_argument(
        "--version", action="version", version=f"%(prog)s {__version__}", help="show the version and exit"
    )
    kinds = parser.add_subparsers(title="verbs", required=True, metavar="VERB")
    for add in (_add_training, _add_speaking, _add_comparing, _add_recipes, _add_the_rest):
        add(kinds)
    return parser


class _Parser(argparse.ArgumentParser):
    """Parser whose errors show arguments with visible control characters; its verbs are such parsers, too."""

    def error(self, message: str) -> NoReturn:
        """Print the usage and the error, and exit."""
        super().error(visible(message))


def _verb(
    kinds: Any, name: str, function: Any, help: str, reference: str = "", metavar: str = "MODEL"
) -> argparse.ArgumentParser:
    """Add a verb, with the options that many of them share."""
    added = kinds.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".", allow_abbrev=False)
    # The default of a verb's own --debug would overwrite one given before the verb.
    added.add_argument(
        "--debug", action="store_true", default=argparse.SUPPRESS, help="show Python's traceback of an error"
    )
    added.set_defaults(verb=function)
    if reference:
        added.add_argument("reference", metavar=metavar, help=reference)
    if reference or name in ("compare", "reference-curve"):
        added.add_argument("--runs", metavar="FOLDER", help="folder of the runs; by default $SPECTRON_RUNS, or runs")
    return added


def _overridable(added: argparse.ArgumentParser, example: str) -> None:
    added.add_argument("overrides", nargs="*", metavar="key=value", help=f"overrides, such as {example}")
    _trusting(added)


def _trusting(added: argparse.ArgumentParser) -> None:
    added.add_argument(
        "--trust",
        action="store_true",
        help="run Python code that a checkpoint or an export names; it may be a stranger's, so read it first",
    )


def _add_training(kinds: Any) -> None:
    added = _verb(kinds, "fit", verbs.fit, "train an experiment and evaluate it")
    added.add_argument("file", metavar="EXPERIMENT", help=f"a YAML file, {RECIPE} mini/demo or demo")
    _overridable(added, "trainer.max_steps=100")
    added.add_argument(
        "--resume",
        nargs="?",
        const="",
        metavar="RUN",
        help="resume from the last checkpoint of the newest run, or of RUN",
    )
    added = _verb(
        kinds,
        "evaluate",
        verbs.evaluate,
        "evaluate a model on a suite of tasks, or compute its validation metrics again",
        reference=SYSTEM,
    )
    added.add_argument(
        "suite",
        nargs="?",
        metavar="SUITE",
        help=f"a YAML file, {RECIPE} evaluation/mini; without a suite, the validation metrics are computed again",
    )
    _overridable(
        added,
        "judges.text_scorer.init_args.source=gpt2 of the suite, or "
        "callbacks.speech.init_args.panel_size=64 of the model",
    )
    added.add_argument(
        "--resume",
        nargs="?",
        const="",
        metavar="RUN",
        help="resume the newest evaluation of the suite, or RUN",
    )
    added.add_argument("--device", help="of a suite: cpu, cuda, cuda:1, ...; by default a GPU, if any")


def _add_speaking(kinds: Any) -> None:
    added = _verb(kinds, "continue", verbs.continue_speech, "continue spoken prompts", reference=SAVED)
    added.add_argument(
        "prompts",
        nargs="+",
        type=Path,
        metavar="PROMPT",
        help=f"recordings at any rate: WAV, FLAC, OGG, MP3; also key=value overrides, such as {MOVED}",
    )
    _add_speaking_options(added, "continuation.wav", "WAV to write; a folder for several prompts")
    _trusting(added)
    added.set_defaults(overrides=[])
    added = _verb(kinds, "ask", verbs.ask, "speak a written question, and answer it aloud", reference=SAVED)
    added.add_argument(
        "question",
        metavar="QUESTION",
        help="the question, such as 'what is the capital of france'; espeak-ng speaks it",
    )
    added.add_argument(
        "--voice", default="en-us+f1", help="voice of the question: accent+variant of espeak-ng (default en-us+f1)"
    )
    _add_speaking_options(added, "answer.wav", "WAV to write; the spoken question is written next to it")
    _overridable(added, MOVED)


def _add_comparing(kinds: Any) -> None:
    added = _verb(
        kinds,
        "compare",
        verbs.compare,
        "print runs next to each other, or compare evaluations with the first one on the same items",
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
        help="also write the comparison of evaluations as CSV, Markdown and HTML",
    )
    added.add_argument(
        "--anyway",
        action="store_true",
        help="compare evaluations with different settings, on the items that they share",
    )
    added = _verb(
        kinds,
        "study",
        verbs.study,
        "train and evaluate variants of one experiment with several seeds, and print one table",
    )
    added.add_argument("file", metavar="STUDY", help=f"a YAML file, {RECIPE} mini/claims")
    added.add_argument(
        "--row",
        action="append",
        default=[],
        metavar="ROW",
        help="run only this row; repeat the option for further rows (default all)",
    )
    added.add_argument(
        "--jobs", type=int, metavar="N", help="rows that run at the same time (default one per GPU, or one)"
    )
    _overridable(added, "seeds=[17]")
    added = _verb(
        kinds,
        "reference-curve",
        verbs.reference_curve,
        "write the metrics of finished runs as a curve that later runs are compared with",
    )
    added.add_argument("references", nargs="+", metavar="RUN", help="finished runs of one experiment, one per seed")
    added.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE.yaml",
        required=True,
        help="file to name under callbacks.reference_curve",
    )


def _add_recipes(kinds: Any) -> None:
    _verb(kinds, "recipes", verbs.recipes, "list the recipes of the package: name, kind and question")
    added = _verb(kinds, "copy", verbs.copy, "copy a recipe, to change it and run it as a file")
    added.add_argument("recipe", metavar="RECIPE", help="name of a recipe, such as mini/demo or demo")
    added.add_argument("folder", type=Path, metavar="FOLDER", help="folder for the copy, made if missing")


def _add_the_rest(kinds: Any) -> None:
    added = _verb(
        kinds,
        "check",
        verbs.check,
        "build an experiment without training it, and print the parameters of each part and the shapes of tensors",
    )
    added.add_argument("file", metavar="EXPERIMENT", help=f"a YAML file, {RECIPE} mini/demo or demo")
    added.add_argument(
        "--part",
        choices=PARTS,
        help="build only this part, or all segments, tokenizers, metrics or judges, and check it against its contract",
    )
    _overridable(added, "model.head.init_args.frames_per_step=2")
    added = _verb(
        kinds,
        "look",
        verbs.look,
        "write a page of the first items of the data: sound, words, sequence, and the loss at each position",
        reference=f"a YAML file, {RECIPE} mini/demo or demo: its model before training; or {TRAINED}",
        metavar="EXPERIMENT",
    )
    added.add_argument("--items", type=int, default=4, metavar="N", help="number of items (default 4)")
    added.add_argument(
        "--split", choices=("train", "val"), default="train", help="training (default) or validation data"
    )
    added.add_argument("-o", "--output", type=Path, default=Path("look.html"), help="page to write (default look.html)")
    added.add_argument("--device", help="cpu, cuda, cuda:1, ...; by default a GPU, if any")
    _overridable(added, "model.sequence.text=empty")
    added = _verb(kinds, "prepare", verbs.prepare, "write the manifest of a corpus")
    _add_sources(added.add_subparsers(title="sources", required=True, metavar="SOURCE", dest="source"))
    added = _verb(
        kinds,
        "export",
        verbs.export,
        "write a model as safetensors and a config.yaml that builds it again",
        reference=SAVED,
    )
    added.add_argument("folder", type=Path, help="folder to write")
    _overridable(added, f"{MOVED}, if the file of a class has moved")
    added.add_argument("--half", action="store_true", help="store 16-bit floats: half the size")


def _add_speaking_options(added: argparse.ArgumentParser, output: str, help: str) -> None:
    added.add_argument("-o", "--output", type=Path, default=Path(output), help=f"{help} (default {output})")
    added.add_argument("--max-seconds", type=float, default=10.0, help="longest speech (default 10)")
    added.add_argument(
        "--max-text-tokens",
        type=int,
        metavar="N",
        default=64,
        help="most text tokens, end token included (default 64)",
    )
    added.add_argument(
        "--temperature",
        type=float,
        default=0.0,
        help="0 takes the likeliest text, a value above 0 samples it (default 0)",
    )
    added.add_argument(
        "--text",
        choices=("trained", "empty", "filler"),
        default="trained",
        help=(
            "text before the speech: as in training, usually the text that the model writes "
            "(default), an empty text, or filler tokens"
        ),
    )
    added.add_argument(
        "--seed",
        type=int,
        default=0,
        help="seed of all sampling, together with the name of the prompt (default 0)",
    )
    added.add_argument("--device", help="cpu, cuda, cuda:1, ...; by default a GPU, if any")


def _add_sources(sources: Any) -> None:
    """Add the sources and their arguments, which are those of the functions in ``spectron.datamodules.prepare``."""

    def source(name: str, help: str, given: str, given_help: str | None = None) -> argparse.ArgumentParser:
        added = sources.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".", allow_abbrev=False)
        added.add_argument(given, type=Path, help=given_help)
        if name != "synthetic":
            added.add_argument("output", type=Path, help="manifest to write, such as data/manifest.jsonl")
        return added

    source("librispeech", "LibriSpeech's folders", "folder", "the LibriSpeech folder")
    source("folder", "audio files, each with a text file of the same name", "folder")
    added = source("synthetic", "the synthetic world, spoken by espeak-ng", "folder", "folder to write")
    _add_workers(added)
    source(
        "llama_questions",
        "LLaMA-Questions: 300 spoken questions",
        "folder",
        "the published folder: a table and its recordings",
    )
    source(
        "pairs",
        "pairs of a right and a wrong recording: sWUGGY, sBLIMP, StoryCloze, SALMon",
        "folder",
        "the published folder",
    )
    added = source("questions", "written questions: WebQuestions, TriviaQA", "file", "JSON or JSON lines")
    added.add_argument(
        "--split", default="test", help="name of the split; if the file has splits, the one to take (default test)"
    )
    added.add_argument(
        "--speech",
        type=Path,
        metavar="FOLDER",
        help="recordings <id>.wav, .flac, ...; by default espeak-ng speaks them",
    )
    added.add_argument("--limit", type=int, metavar="N", help="take the first N questions only")
    _add_workers(added)


def _add_workers(added: argparse.ArgumentParser) -> None:
    added.add_argument(
        "--workers", type=int, metavar="N", help="processes that speak; 0 speaks in one (default one per CPU core)"
    )


def _is_override(item: str) -> bool:
    """Return whether an argument is an override and not a recording."""
    return re.match(r"\w+(\.\w+)+=", item) is not None and not Path(item).exists()


def _separate_resume(arguments: list[str]) -> list[str]:
    """Keep ``--resume`` from taking the file or the override after it as its run."""
    separated = []
    for place, item in enumerate(arguments):
        following = arguments[place + 1] if place + 1 < len(arguments) else "-"
        alone = item == "--resume" and (
            "=" in following or following.startswith("-") or following.endswith((".yaml", ".yml"))
        )
        separated.append("--resume=" if alone else item)
    return separated


def _quiet() -> None:
    """Hide advertisements and deprecation warnings that libraries print for their own users.

    Of several processes, only the first one warns: the others would repeat it.
    """
    import logging
    import warnings

    warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\).*")
    warnings.filterwarnings("ignore", message=r"Found \d+ module\(s\) in eval mode")  # frozen parts are meant to be
    # Before torch starts: its C++ code warns of a setting that Spectron makes for several processes.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    if environment_rank() > 0:
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
    chatter = ("💡 Tip", "GPU available", "TPU available", "HPU available", "Initializing distributed", "----")
    for part in ("pytorch.utilities.rank_zero", "fabric.utilities.rank_zero", "fabric.utilities.distributed"):
        logging.getLogger(f"lightning.{part}").addFilter(lambda record: not record.getMessage().startswith(chatter))


if __name__ == "__main__":
    sys.exit(command())
