"""Pre-trained models by name or folder: where their files are, and what to do where they are not.

A name is looked up in the hub's cache and then on the hub (``huggingface_hub``; ``HF_HUB_OFFLINE``, ``HF_HOME`` and
``HF_ENDPOINT`` hold), once, into a folder: every loader then reads a folder, so that a name and a folder take the same
way. Weights are safetensors
only: a pickle could run code of a stranger's choosing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from spectron.errors import CheckpointError, ConfigError, SpectronError, nearest
from spectron.weights.state_dicts import require_sound_file, whole_numbers_in

DATA_FILES = ["*.json", "*.safetensors", "*.sha256", "*.txt", "*.model", "*.jinja", "*.yaml"]
CODE_FILES = ["*.py"]
CHECKPOINTS = ["*.ckpt"]
# Copies of the same weights for other programs, or in other precisions; MMS' adapters of a thousand languages.
OTHER_COPIES = ["adapter.*.safetensors", "original/*", "onnx/*", "openvino/*", "coreml/*", "*.fp16*", "*.fp32*"]
PICKLES = ("*.bin", "*.ckpt", "*.pt", "*.pth")
SETTINGS = ("*config.json", "tokenizer.json")


def locate(source: str, revision: str | None = None, remote_code: bool = False, checkpoints: bool = False) -> Path:
    """The folder that holds a pre-trained model.

    Args:
        source: A local folder, or a name on the hub such as ``openai/whisper-base``.
        revision: Branch, tag or commit on the hub; None takes the main branch.
        remote_code: Whether the repository's own Python files are fetched too.
        checkpoints: Whether speechbrain's ``.ckpt`` files are fetched too, for a reader that takes only tensors
            from them.

    Raises:
        ConfigError: with the key ``source`` or ``revision``; states what was searched where, and what to do.
    """
    folder = Path(source).expanduser()
    if not folder.is_dir():
        if source.startswith((".", "/", "~")) or source.count("/") > 1 or folder.exists():
            raise ConfigError(f"there is no folder {folder.absolute()}. {_nearest_folder(folder)}", key="source")
        extra = (CODE_FILES if remote_code else []) + (CHECKPOINTS if checkpoints else [])
        folder = _fetch(source, revision, DATA_FILES + extra)
    elif revision is not None:
        raise ConfigError(
            f"{source!r} is a local folder, which has no revisions. Remove `revision`, or name a hub model",
            key="revision",
        )
    for path in sorted(path for pattern in SETTINGS for path in folder.glob(pattern)):
        read_json(path)
    return folder


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        ConfigError: naming file and place, if it holds none.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # UnicodeDecodeError is one as well
        raise ConfigError(
            f"{path} is not JSON ({error}). Copy or fetch it again, or correct it", key="source"
        ) from error
    if not isinstance(found, dict):
        raise ConfigError(
            f"{path} holds a JSON {type(found).__name__}, not keys and values. Copy or fetch it again", key="source"
        )
    return found


def revision_of(source: str, revision: str | None = None) -> str | None:
    """The commit of the copy in the cache that ``locate`` gave; None for a local folder."""
    if Path(source).expanduser().is_dir():
        return None
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(source, revision=revision, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        return None
    return folder.name if folder.parent.name == "snapshots" else None


def require_safetensors(folder: Path, source: str) -> None:
    """Refuse a folder without sound safetensors weights, before a library reads them.

    Raises:
        ConfigError: if there are none, with the ways to get them.
        CheckpointError: if a file of them is broken or damaged, or has tensors that are not finite.
    """
    for path in safetensors_files(folder, source):
        require_sound_file(path, "source")


def require_float_parameters(model: nn.Module, folder: Path) -> None:
    """Refuse the weights of a model that a library has read, if parameters were stored as whole numbers.

    A library converts such quantised weights to floats without their scales. It may also change the beginning of the
    names, so the ends of the names are compared.

    Raises:
        CheckpointError: naming the first such tensor and its file.
    """
    parameters = [name for name, value in model.named_parameters() if value.is_floating_point()]
    for path in sorted(folder.glob("*.safetensors")):
        for name in whole_numbers_in(path):
            if any(f".{one}".endswith(f".{name}") or f".{name}".endswith(f".{one}") for one in parameters):
                raise CheckpointError(
                    f"{path}: the tensor {name} holds whole numbers, and a float of 16 to 64 bits is expected. Use "
                    "weights that are not quantised",
                    key="source",
                )


def safetensors_files(folder: Path, source: str) -> list[Path]:
    """Return the files of weights in a folder, without reading them.

    Raises:
        ConfigError: if there are none, with the ways to get them.
    """
    if files := sorted(folder.glob("*.safetensors")):
        return files
    pickles = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
    found = (
        f"only {', '.join(pickles)}, and pickled weights are not loaded because they can run code"
        if pickles
        else "no weights at all"
    )
    raise ConfigError(
        f"{source!r} ({folder}) contains no *.safetensors but {found}. Name a `revision` that has them (on the hub, "
        "converted weights are often under refs/pr/1), or convert the file once if you trust it: load it with "
        "transformers and save_pretrained(<folder>)",
        key="source",
    )


@contextmanager
def reading(source: str, what: str, argument: str = "source") -> Iterator[None]:
    """Turn an exception of a library that reads ``source`` into a ``ConfigError`` with argument, source and cure."""
    try:
        yield
    except SpectronError:
        raise
    except Exception as error:  # every library raises kinds of its own for a file that it cannot read
        said = " ".join(str(error).split())[:400]
        message = f"{source!r} cannot be read as {what}: {type(error).__name__}: {said}"
        raise ConfigError(message, key=argument) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the library's report of weights: dropped heads are expected, and missing weights are an error of ours."""
    from transformers.utils import logging

    logging.disable_progress_bar()  # it counts tensors, which is no use to a user; downloads have their own bar
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _fetch(name: str, revision: str | None, patterns: list[str]) -> Path:
    """Return the folder of a hub model in the cache; download it if it is missing."""
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    at = f" at revision {revision!r}" if revision else ""
    near = _near(Path(name))
    wrong = f"there is no folder {name}; did you mean {near}? As a name of the hub: " if near else ""
    looked = f"looked for the folder {Path(name).absolute()}, in the cache {constants.HF_HUB_CACHE}"
    by_folder = "or give a folder that holds it, `source: /path/to/folder`"
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=patterns, ignore_patterns=OTHER_COPIES))
    except HFValidationError as error:
        raise ConfigError(
            f"{wrong}{name!r} is neither a folder nor a name of the hub ({error}); {looked}. Correct it", key="source"
        ) from error
    except GatedRepoError as error:
        raise ConfigError(
            f"{name!r} asks for its terms to be accepted: do so on its page and log in (hf auth login)", key="source"
        ) from error
    except RevisionNotFoundError as error:
        raise ConfigError(
            f"{name!r} has no revision {revision!r}. Correct or remove `revision`", key="revision"
        ) from error
    except RepositoryNotFoundError as error:
        raise ConfigError(
            f"{wrong}the hub has no {name!r} that you may read; {looked}. Correct the name, log in, {by_folder}",
            key="source",
        ) from error
    except Exception as error:  # no network shows itself in many ways, one for each library on the way to it
        cause = (
            "HF_HUB_OFFLINE is set"
            if constants.HF_HUB_OFFLINE
            else f"the hub cannot be reached ({type(error).__name__})"
        )
        raise ConfigError(
            f"{wrong}{name!r}{at} is not available; {looked}, and {cause}. Download it on a machine with a "
            f"network (hf download {name}) and copy the cache, {by_folder}",
            key="source",
        ) from error


def _nearest_folder(folder: Path) -> str:
    """Return a sentence with the most similar folder in the same place."""
    if not folder.parent.is_dir():
        return f"The folder {folder.absolute().parent} does not exist either; correct the path"
    near = _near(folder)
    return f"Did you mean {near.absolute()}?" if near else "Correct the path"


def _near(folder: Path) -> Path | None:
    """Return the folder in the same place whose name is most similar to a missing one."""
    folders = folder.parent.iterdir() if folder.parent.is_dir() else ()
    near = nearest(folder.name, (path.name for path in folders if path.is_dir()))
    return folder.parent / near if near else None
