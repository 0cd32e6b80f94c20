"""The speech encoder within any model of transformers: found by the names of parts, chosen by what each makes of noise.

Models hold their encoder under few names, and call its input and output by few more; which of them serves is tried rather than
listed. Heads, decoders and language models around it are left out.
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
# What models that make audio call it.
AUDIO = {"audio", "audio_values", "waveform", "waveforms"}


class Unfit(Exception):
    """Why a model, or a part of it, cannot be used as an encoder."""


@dataclass
class Found:
    """An encoder within a model.

    Attributes:
        encoder: The part.
        name: Where it stands in the model; empty where it is the whole model.
        front_end: What it hears with.
    """

    encoder: Any
    name: str
    front_end: LibraryFrontEnd


def find_encoder(model: Any, extractor: Any) -> Found:
    """The first part of a model, in eval mode, that makes a sequence of features of what the feature extractor gives.

    Raises:
        Unfit: with what every part does instead.
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
    """Names and parts of a model that may be its speech encoder, likeliest first.

    A part that names the extractor's output among its arguments goes before one that may know it under another name.
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
    """Samples that the encoder needs at least to make a step, in tenths of a second.

    Nothing tells how little an unknown extractor and encoder can bear, so it is tried, up to a second.

    Raises:
        Unfit: if a second is not enough, or its output is no sequence of features.
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
    """What is wrong with what an encoder makes of so many samples of noise; nothing where it makes features (1, U, D)."""
    try:
        inputs = front_end(noise(num_samples), torch.tensor([num_samples]))
        output = encoder(**in_dtype(inputs, encoder.dtype))
    except Exception as error:  # whatever a model raises that was made for other inputs
        said = " ".join(str(error).split())[:200]
        return f"cannot hear what {type(front_end.extractor).__name__} gives ({type(error).__name__}: {said})"
    features = getattr(output, "last_hidden_state", None)
    if isinstance(features, Tensor) and features.ndim == 3 and features.is_floating_point():
        return "" if features.shape[1] else f"makes no step of {num_samples} samples"
    if isinstance(features, Tensor):
        return f"gives features of shape {tuple(features.shape)}, not (recordings, steps, width)"
    names = list(output) if hasattr(output, "keys") else [type(output).__name__]
    makes_audio = not AUDIO.isdisjoint(names)
    return (
        f"gives {', '.join(names)}, not features{': it makes audio, as codecs and vocoders do' if makes_audio else ''}"
    )


def refusal(source: str, model_type: str, seen: list[str]) -> ConfigError:
    """The error for a model in which there is nothing to use."""
    return ConfigError(
        f"source: {source!r} is a {model_type!r} model, and no speech encoder that can be used was found in it: {'; '.join(seen)}. "
        "Name a model of a family of speech encoders (wav2vec2, hubert, wavlm, w2v-BERT, whisper, parakeet, ...), or write a class of ten "
        "lines around this one: README.md, 'Add an encoder'"
    )
