"""Search for the speech encoder in any model of transformers.

Candidates are the submodules with one of a few usual names. Each candidate encodes noise, and the first that returns a
sequence of features is the encoder. Heads, decoders and language models around it are dropped.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from spectron.encoders.front_ends import LibraryFrontEnd, in_dtype
from spectron.encoders.row_by_row import noise
from spectron.errors import ConfigError

PARTS = ("audio_tower", "audio_encoder", "speech_encoder", "encoder")
# Output names of models that generate audio.
AUDIO = {"audio", "audio_values", "waveform", "waveforms"}


class Unfit(Exception):
    """The reason why a model, or a part of it, cannot be used as an encoder."""


@dataclass
class Found:
    """An encoder within a model.

    Attributes:
        encoder: The part.
        name: Dotted name of the part in the model; empty if it is the whole model.
        front_end: Front end that makes the inputs of the part.
    """

    encoder: Any
    name: str
    front_end: LibraryFrontEnd


def find_encoder(model: Any, extractor: Any) -> Found:
    """Return the first part of a model that turns the output of the feature extractor into a sequence of features.

    The model is set to eval mode.

    Raises:
        Unfit: with the reason for every part.
    """
    model.eval()
    seen = []
    for name, part in candidates(model, extractor):
        front_end = LibraryFrontEnd(extractor, part)
        try:
            front_end.min_samples = shortest(part, front_end)
        except Unfit as reason:
            seen.append(f"{f'its `{name}`' if name else 'the whole'} ({type(part).__name__}) {reason}")
            continue
        return Found(part, name, front_end)
    raise Unfit(
        "; ".join(seen) or f"no part of {type(model).__name__} is called {', '.join(PARTS[:-1])} or {PARTS[-1]}"
    )


def candidates(model: Any, extractor: Any) -> list[tuple[str, Any]]:
    """Return names and parts of a model that may be its speech encoder, most likely first.

    Parts with an argument named like the extractor's output come first.
    """
    parts = [
        (name, part)
        for kind in PARTS
        for name, part in model.named_modules()
        if name.rpartition(".")[2] == kind and hasattr(part, "main_input_name")
    ]
    if not model.config.is_encoder_decoder:
        parts.append(("", model))
    return sorted(
        parts, key=lambda entry: extractor.model_input_names[0] not in inspect.signature(entry[1].forward).parameters
    )


def shortest(encoder: Any, front_end: LibraryFrontEnd) -> int:
    """Return the smallest number of samples, in steps of 0.1 s, from which the encoder makes a step.

    No attribute of an unknown extractor or encoder states this number, so lengths up to 1 s are tried.

    Raises:
        Unfit: if 1 s is not enough, or the output is no sequence of features.
    """
    if front_end.argument == "input_ids":
        raise Unfit("reads text (`input_ids`)")
    rate = int(front_end.extractor.sampling_rate)
    reason = try_on_noise(encoder, front_end, rate)
    if reason:
        raise Unfit(reason)
    return next(
        rate * tenths // 10 for tenths in range(1, 11) if not try_on_noise(encoder, front_end, rate * tenths // 10)
    )


@torch.no_grad()
def try_on_noise(encoder: Any, front_end: LibraryFrontEnd, num_samples: int) -> str:
    """Return the reason why the output for noise of this length is no features (1, U, D); empty if it is."""
    try:
        inputs = front_end(noise(num_samples), torch.tensor([num_samples]))
        output = encoder(**in_dtype(inputs, encoder.dtype))
    except Exception as error:  # a model for other inputs may raise anything
        said = " ".join(str(error).split())[:200]
        return f"cannot encode the output of {type(front_end.extractor).__name__} ({type(error).__name__}: {said})"
    features = getattr(output, "last_hidden_state", None)
    if isinstance(features, Tensor) and features.ndim == 3 and features.is_floating_point():
        return "" if features.shape[1] else f"makes no step from {num_samples} samples"
    if isinstance(features, Tensor):
        return f"gives features of shape {tuple(features.shape)}, not (recordings, steps, width)"
    names = list(output) if hasattr(output, "keys") else [type(output).__name__]
    makes_audio = not AUDIO.isdisjoint(names)
    return (
        f"gives {', '.join(names)}, not features{': it makes audio, as codecs and vocoders do' if makes_audio else ''}"
    )


def refusal(source: str, model_type: str, seen: list[str]) -> ConfigError:
    """Return the error for a model without a usable encoder."""
    return ConfigError(
        f"{source!r} is a {model_type!r} model, and no usable speech encoder was found in it: {'; '.join(seen)}. "
        "Name a model of a family of speech encoders (wav2vec2, hubert, wavlm, w2v-BERT, whisper, parakeet, ...), or "
        "write a class of ten lines around this one: README.md, 'Add an encoder'",
        key="source",
    )
