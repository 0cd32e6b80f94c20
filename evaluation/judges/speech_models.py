"""Models of transformers with a head on a speech encoder, in batches whose padding has no effect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from spectron.encoders.front_ends import FrontEnd, LibraryFrontEnd
from spectron.encoders.padding import Lengths, hide_padding
from spectron.encoders.pretrained_loading import FRONT_ENDS, Reading, depends_on_padding, quiet, read_config
from spectron.encoders.tiled_convolution import tile_convolutions
from spectron.errors import ConfigError
from spectron.weights.hub import reading, require_float_parameters, require_safetensors

# Tensors that a judge does not use: the vector of masked training, and the classes of a speaker head's training.
NOT_ASKED = ("masked_spec_embed", "objective.weight", "classifier.weight", "classifier.bias")


class HeadedEncoder(nn.Module):
    """A head (CTC, x-vector) on a speech encoder.

    Families that the platform's encoders support run in padded batches with the encoders' front ends and masks. Other
    families, and those whose convolutions or norms depend on padding despite a mask, run on one recording at a time.

    Args:
        folder: Folder of the model in transformers' format, with safetensors weights.
        source: The user's name of the model.
        kind: The library's class for this head, such as ``AutoModelForCTC``.

    Raises:
        ConfigError: if the folder contains no such model, or no weights of its head.
    """

    def __init__(self, folder: Path, source: str, kind: Any) -> None:
        super().__init__()
        config, extractor = read_config(folder, Reading(source, "last", False, "float32", True, False))
        self.model = read_model(folder, source, kind)
        extractor_name, front_end = FRONT_ENDS.get(config.model_type, ("", None))
        self.together = (
            front_end is not None and type(extractor).__name__ == extractor_name and not depends_on_padding(config)
        )
        # The family determines one of our front ends; the library's front end reads the inputs of the model.
        known = front_end(config, extractor) if front_end is not None and self.together else None
        self.front_end: FrontEnd = LibraryFrontEnd(extractor, self.model.base_model) if known is None else known
        self.sample_rate_hz = int(extractor.sampling_rate)
        self.lengths = Lengths()
        if self.together:
            hide_padding(self.model.base_model, self.lengths)
            tile_convolutions(self.model.base_model)

    def forward(self, waveforms: list[Tensor]) -> list[tuple[Any, int, int]]:
        """Return the library's outputs for waveforms (S,).

        Returns:
            For each waveform, the output of its batch, its row in the batch, and its valid steps.
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
        """Return the output for a padded batch, and the valid steps (B,) of its rows."""
        waveform = self.lengthened(waveforms)
        num_samples = torch.tensor([len(row) for row in waveforms], device=waveform.device)
        self.lengths.num_samples = num_samples.clamp(min=self.front_end.min_samples)
        self.lengths.num_steps = self.num_steps(list(map(len, waveforms))).to(waveform.device)
        return self.model(**self.front_end(waveform, num_samples)), self.lengths.num_steps

    def num_steps(self, num_samples: list[int]) -> Tensor:
        """Return the steps (B,) of recordings with these numbers of samples."""
        heard = torch.tensor(num_samples).clamp(min=self.front_end.min_samples)
        return (
            self.front_end.num_steps(heard, self.model.base_model)
            if self.together
            else self.model._get_feat_extract_output_lengths(heard)
        )

    def lengthened(self, waveforms: list[Tensor]) -> Tensor:
        """Return a batch (B, S) of waveforms padded with zeros, long enough for one step."""
        waveform = pad_sequence(waveforms, batch_first=True)
        return nn.functional.pad(waveform, (0, max(self.front_end.min_samples - waveform.shape[1], 0)))


def read_model(folder: Path, source: str, kind: Any) -> Any:
    """Read a model with its head from a folder, in single precision.

    Raises:
        ConfigError: if the folder contains no such model, or not all of its weights.
    """
    require_safetensors(folder, source)
    with quiet(), reading(source, kind.__name__.removeprefix("AutoModelFor") + " model of transformers"):
        model, told = kind.from_pretrained(folder, use_safetensors=True, output_loading_info=True, dtype=torch.float32)
    missing = sorted(name for name in told["missing_keys"] if not name.endswith(NOT_ASKED))
    if missing:
        raise ConfigError(
            f"{source!r} ({folder}) lacks {len(missing)} tensors of its {type(model).__name__} "
            f"({', '.join(missing[:4])}, ...), which would be random. Name a model that was trained for this task, "
            "not the encoder alone",
            key="source",
        )
    require_float_parameters(model, folder)
    return model
