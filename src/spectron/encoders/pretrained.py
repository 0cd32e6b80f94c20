"""Speech encoders of transformers by hub name or folder.

Among them are wav2vec 2.0, HuBERT, WavLM, Data2Vec, w2v-BERT 2.0, Whisper and MMS.
"""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from spectron.audio.mel import padding_mask
from spectron.contracts import SpeechEncoder
from spectron.encoders.config_files import Layer, Reading
from spectron.encoders.front_ends import LibraryFrontEnd, in_dtype
from spectron.encoders.padding import Lengths, hide_padding
from spectron.encoders.pretrained_loading import read_encoder, require_layer
from spectron.encoders.row_by_row import keep_statistics, noise, one_by_one, rest_unused
from spectron.encoders.tiled_convolution import tile_convolutions
from spectron.errors import ConfigError
from spectron.ranges import checks_ranges
from spectron.weights.hub import locate, reading
from spectron.weights.state_dicts import all_floats, read_tensors

log = logging.getLogger(__name__)
LAYER_WEIGHTS = "layer_weights.safetensors"


@checks_ranges
class PretrainedEncoder(SpeechEncoder):
    """A speech encoder of transformers. Valid features equal those of the library, with and without padding.

    Whisper takes fixed windows of 30 s: shorter recordings are padded with silence, longer ones are cut into successive
    windows, and only steps of the recording are returned. A recording that is too short for one step is padded with
    silence; a recording without samples has no steps. In some models padding changes valid steps whatever mask is given
    (SEW, Conformers with batch norm, adapters, unknown families). Their recordings are encoded one at a time, which is
    exact but slower.

    Args:
        source: Hub name or folder of a model in transformers' format; a head is dropped.
        layer: ``last`` is the last hidden state of the library; a number is the output of that layer (0: the input of
            the first); ``weighted`` is a sum of all layers with learned softmax weights (Yang et al. 2021, SUPERB,
            arXiv:2105.01051).
        revision: Branch, tag or commit on the hub.
        remote_code: Whether Python files of the model's repository may run.
        dtype: Type of the weights; features are always float32.
        gradient_checkpointing: Compute the layers again in the backward pass instead of storing their activations.
        pretrained: False builds the same architecture with fresh weights.
        spec_augment: Whether the library masks features in training, as the model's configuration states.

    Raises:
        ConfigError: with the argument as its key.
    """

    def __init__(
        self,
        source: str,
        layer: Layer = "last",
        revision: str | None = None,
        remote_code: bool = False,
        dtype: Literal["float32", "bfloat16", "float16"] = "float32",
        gradient_checkpointing: bool = False,
        pretrained: bool = True,
        spec_augment: bool = False,
    ) -> None:
        super().__init__()
        folder = locate(source, revision, remote_code)
        self.settings = Reading(source, layer, remote_code, dtype, pretrained, spec_augment)
        found = read_encoder(folder, self.settings)
        self.model, self.front_end, self.extractor = found.model, found.front_end, found.extractor
        self.row_by_row, self.prefix, self.whole = found.row_by_row, found.prefix, found.whole
        self.sample_rate_hz = int(found.extractor.sampling_rate)
        self.lengths = Lengths()
        if self.row_by_row:
            log.info("%s: recordings are encoded one at a time, because padding would change the features", source)
        else:
            hide_padding(self.model, self.lengths)
            tile_convolutions(self.model)
        self._settle(folder)
        self.gradient_checkpointing = gradient_checkpointing
        if gradient_checkpointing:
            if not self.model.supports_gradient_checkpointing:
                raise ConfigError(
                    f"{type(self.model).__name__} does not support it. Remove the key", key="gradient_checkpointing"
                )
            self.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        self.train()  # transformers returns pre-trained models in eval mode, and Lightning keeps the mode

    def forward(self, waveform: Tensor, num_samples: Tensor) -> tuple[Tensor, Tensor]:
        """Encode (B, S) audio with (B,) valid samples into (B, U, D) float32 features, 0 at padding, and (B,) steps."""
        waveform = waveform.float().masked_fill(padding_mask(num_samples, waveform.shape[1]), 0.0)
        if self.row_by_row:
            features, num_steps = one_by_one(self._alone, waveform, num_samples, self.front_end.min_samples)
        else:
            features, num_steps = self._together(waveform, num_samples)
        return features.float().masked_fill(padding_mask(num_steps, features.shape[1])[..., None], 0.0), num_steps

    def train(self, mode: bool = True) -> PretrainedEncoder:
        """Set training mode, except for batch norms: they keep their statistics, so that rows do not mix."""
        super().train(mode)
        keep_statistics(self)
        return self

    def save(self, folder: Path, half: bool = False) -> dict[str, Any]:
        """Write encoder and feature extractor in transformers' format, and the layer weights in a file next to them."""
        model = copy.deepcopy(self.model).half() if half else self.model
        weights = {self.prefix + name: value for name, value in model.state_dict().items()} if self.prefix else None
        # A part of a model keeps its names in the whole model; the library would rename them once more.
        model.save_pretrained(folder, state_dict=weights, save_original_format=not self.prefix)
        if self.whole is not None:
            self.whole.save_pretrained(folder)
        self.extractor.save_pretrained(folder)
        if self.settings.layer == "weighted":
            save_file({"layer_weights": self.layer_weights.detach().cpu()}, Path(folder) / LAYER_WEIGHTS)
        kept = {name: getattr(self.settings, name) for name in ("layer", "remote_code", "dtype", "spec_augment")}
        return {**kept, "gradient_checkpointing": self.gradient_checkpointing}

    def _together(self, waveform: Tensor, num_samples: Tensor) -> tuple[Tensor, Tensor]:
        """Encode all rows of a batch at once."""
        shortest = self.front_end.min_samples
        waveform = nn.functional.pad(waveform, (0, max(shortest - waveform.shape[1], 0)))
        heard = num_samples.clamp(min=shortest)
        num_steps = self.front_end.num_steps(heard, self.model)
        self.lengths.num_samples, self.lengths.num_steps = heard, num_steps
        width = waveform.shape[1]
        features = self._choose(self._states(self.front_end(waveform, num_samples), width))
        features = self.front_end.regroup(features, num_samples, width)[:, : self._num_steps(width)]
        return features, num_steps.masked_fill(num_samples == 0, 0)

    def _num_steps(self, num_samples: int) -> int:
        """Return the steps of a recording; from the width of a batch, so that nothing waits for the device."""
        return int(self.front_end.num_steps(torch.tensor([num_samples]), self.model))

    def _alone(self, waveform: Tensor, num_samples: int) -> Tensor:
        """Return features (U, D) of one recording (1, S), in windows if the extractor pads to a fixed length."""
        window = getattr(self.extractor, "n_samples", None) if isinstance(self.front_end, LibraryFrontEnd) else None
        if window is None:
            return self._window(waveform, num_samples)
        pieces = waveform.split(window, dim=1)
        features = [self._window(piece, piece.shape[1]) for piece in pieces]
        return torch.cat(
            [row[: -(-len(row) * piece.shape[1] // window)] for row, piece in zip(features, pieces, strict=True)]
        )

    def _window(self, waveform: Tensor, num_samples: int) -> Tensor:
        """Return features (U, D) of one recording (1, S), encoded at once."""
        inputs = self.front_end(waveform, torch.tensor([num_samples], device=waveform.device))
        return self._choose(self._states(inputs, waveform.shape[1]))[0]

    def _states(self, inputs: dict[str, Tensor], width: int) -> tuple[Tensor, ...]:
        """Return the outputs of all layers, or of the last if ``layer`` is ``last``, for rows of ``width`` samples."""
        inputs = in_dtype(inputs, self.model.dtype)
        if self.settings.spec_augment:  # the library refuses to mask a block longer than the sequence
            self.model.config.apply_spec_augment = self._num_steps(width) >= self.model.config.mask_time_length
        if self.settings.layer == "last":
            return (self.model(**inputs).last_hidden_state,)
        states = getattr(self.model(**inputs, output_hidden_states=True), "hidden_states", None)
        if not states:
            raise ConfigError(
                f"{type(self.model).__name__} returns only its last hidden state. Set `layer: last`", key="layer"
            )
        return states

    def _choose(self, states: tuple[Tensor, ...]) -> Tensor:
        """Return the features (B, U, D) of the chosen layer."""
        if self.settings.layer == "last":
            return states[0]
        if self.settings.layer != "weighted":
            return states[self.settings.layer]
        shares = self.layer_weights.softmax(0)
        return torch.stack([share * state.float() for share, state in zip(shares, states, strict=True)]).sum(0)

    def _settle(self, folder: Path) -> None:
        """Derive sizes that the configuration does not state, and freeze parameters that have no effect."""
        self.eval()
        if self.row_by_row or self.settings.layer != "last":
            with reading(self.settings.source, "an encoder of waveforms"):
                states = self._states_of_noise()
            layers = max(len(states) - 1, getattr(self.model.config, "num_hidden_layers", 0))
            require_layer(self.settings, layers)
            if self.settings.layer == "weighted":
                if len({state.shape for state in states}) > 1:
                    shapes = ", ".join(sorted({f"{state.shape[1]} x {state.shape[2]}" for state in states}))
                    raise ConfigError(
                        f"`weighted` needs layers of one shape, and these have {shapes}. Set `last` or a number",
                        key="layer",
                    )
                self.layer_weights = nn.Parameter(stored_weights(folder / LAYER_WEIGHTS, len(states)))
            rest_unused(self, self._choose(states))
        if not self.row_by_row:  # else both are measured
            self.output_dim = int(self.model.config.hidden_size)
            self.frame_rate_hz = self.sample_rate_hz / self.front_end.hop_samples
        if hasattr(self.model, "masked_spec_embed"):  # the embedding that replaces masked steps
            self.model.masked_spec_embed.requires_grad_(self.settings.spec_augment)

    def _states_of_noise(self) -> tuple[Tensor, ...]:
        """Return the outputs of all layers for half a second of noise.

        Raises:
            ConfigError: if an output is no sequence of features.
        """
        width = max(self.sample_rate_hz // 2, self.front_end.min_samples)
        num_samples = torch.tensor([width])
        self.lengths.num_samples = self.lengths.num_steps = num_samples  # nothing is padded
        states = self._states(self.front_end(noise(width), num_samples), width)
        if any(state.ndim != 3 for state in states):
            shapes = [tuple(state.shape) for state in states]
            raise ConfigError(
                f"{self.settings.source!r} returns no features (B, U, D) but {shapes}, so it is no speech encoder",
                key="source",
            )
        return states


def stored_weights(path: Path, layers: int) -> Tensor:
    """Return the weights of ``layers`` layers before the softmax: those that ``save`` wrote, or zeros.

    Raises:
        ConfigError: if the file holds another number of weights.
    """
    if not path.is_file():
        return torch.zeros(layers)
    weights = read_tensors(path, "source", is_float=all_floats).get("layer_weights", torch.zeros(0))
    if weights.shape != (layers,):
        raise ConfigError(
            f"{path} holds weights of {len(weights.flatten())} layers, and the model has {layers}. Remove the file",
            key="source",
        )
    return weights.float()
