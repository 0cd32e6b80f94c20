"""Models of transformers with a head on a speech encoder, run in batches in which no recording hears the padding of another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from spectron.encoders.front_ends import FrontEnd, LibraryFrontEnd
from spectron.encoders.padding import Lengths, hide_padding
from spectron.encoders.pretrained_loading import FRONT_ENDS, Reading, hears_padding, quiet, read_config
from spectron.encoders.tiled_convolution import tile_convolutions
from spectron.errors import ConfigError
from spectron.weights.hub import reading, require_safetensors

# Parts of published weights that a judge never asks: masked training's vector, and the classes that a speaker head was trained on.
NOT_ASKED = ("masked_spec_embed", "objective.weight", "classifier.weight", "classifier.bias")


class HeadedEncoder(nn.Module):
    """A head (CTC, x-vector) on a speech encoder.

    The families that the platform's encoders know are run in padded batches with the encoders' own front ends and masks. The others, and
    those whose convolutions or norms hear padding whatever mask is given, are run one recording at a time.

    Args:
        folder: Where the model is, in transformers' format with safetensors weights.
        source: What the user calls it.
        kind: The library's class for this head, such as ``AutoModelForCTC``.

    Raises:
        ConfigError: if the folder holds no such model, or no weights of its head.
    """

    def __init__(self, folder: Path, source: str, kind: Any) -> None:
        super().__init__()
        config, extractor = read_config(folder, Reading(source, "last", False, "float32", True, False))
        self.model = read_model(folder, source, kind)
        extractor_name, front_end = FRONT_ENDS.get(config.model_type, ("", None))
        self.together = (
            front_end is not None and type(extractor).__name__ == extractor_name and not hears_padding(config)
        )
        # A front end of ours is known by the family; the library's asks the model what it takes.
        known = front_end(config, extractor) if front_end is not None and self.together else None
        self.front_end: FrontEnd = LibraryFrontEnd(extractor, self.model.base_model) if known is None else known
        self.sample_rate_hz = int(extractor.sampling_rate)
        self.lengths = Lengths()
        if self.together:
            hide_padding(self.model.base_model, self.lengths)
            tile_convolutions(self.model.base_model)

    def forward(self, waveforms: list[Tensor]) -> list[tuple[Any, int, int]]:
        """The library's outputs for waveforms (S,).

        Returns:
            For each waveform the output of the batch that it was in, its row in it and its valid steps in it.
        """
        if self.together:
            output, num_steps = self.padded(waveforms)
            return [(output, row, steps) for row, steps in enumerate(num_steps.tolist())]
        outputs = [
            self.model(**self.front_end(self.lengthened([waveform]), torch.tensor([len(waveform)])))
            for waveform in waveforms
        ]
        return [(output, 0, output[0].shape[1]) for output in outputs]

    def padded(self, waveforms: list[Tensor]) -> tuple[Any, Tensor]:
        """The output for a padded batch, and the valid steps (B,) of its rows."""
        waveform = self.lengthened(waveforms)
        num_samples = torch.tensor([len(row) for row in waveforms], device=waveform.device)
        self.lengths.num_samples = num_samples.clamp(min=self.front_end.min_samples)
        self.lengths.num_steps = self.num_steps(list(map(len, waveforms))).to(waveform.device)
        return self.model(**self.front_end(waveform, num_samples)), self.lengths.num_steps

    def num_steps(self, num_samples: list[int]) -> Tensor:
        """Steps (B,) of recordings of so many samples."""
        heard = torch.tensor(num_samples).clamp(min=self.front_end.min_samples)
        return (
            self.front_end.num_steps(heard, self.model.base_model)
            if self.together
            else self.model._get_feat_extract_output_lengths(heard)
        )

    def lengthened(self, waveforms: list[Tensor]) -> Tensor:
        """A batch (B, S) of waveforms with zeros behind them, long enough for a step."""
        waveform = pad_sequence(waveforms, batch_first=True)
        return nn.functional.pad(waveform, (0, max(self.front_end.min_samples - waveform.shape[1], 0)))


def read_model(folder: Path, source: str, kind: Any) -> Any:
    """A whole model from a folder, head included, in single precision.

    Raises:
        ConfigError: if the folder holds no such model or not all of its weights.
    """
    require_safetensors(folder, source)
    with quiet(), reading(source, kind.__name__.removeprefix("AutoModelFor") + " model of transformers"):
        model, told = kind.from_pretrained(folder, use_safetensors=True, output_loading_info=True, dtype=torch.float32)
    missing = sorted(name for name in told["missing_keys"] if not name.endswith(NOT_ASKED))
    if missing:
        raise ConfigError(
            f"{source!r} ({folder}) lacks {len(missing)} tensors of its {type(model).__name__} ({', '.join(missing[:4])}, ...), "
            "which would be random. Name a model that was trained for this, not the bare encoder below it",
            key="source",
        )
    return model
