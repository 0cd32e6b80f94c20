"""Any speech encoder of transformers by hub name or folder: wav2vec 2.0, HuBERT, WavLM, Data2Vec, w2v-BERT 2.0, Whisper, MMS, others."""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from spectron.audio.mel import padding_mask
from spectron.contracts import SpeechEncoder
from spectron.encoders.loading import Reading, read_encoder, require_layer
from spectron.encoders.masking import Lengths, hide_padding
from spectron.errors import ConfigError
from spectron.hub import locate, reading

log = logging.getLogger(__name__)
LAYER_WEIGHTS = "layer_weights.safetensors"


class PretrainedEncoder(SpeechEncoder):
    """A speech encoder of transformers with its own front end on the device; valid features are the library's, padding or not.

    Whisper hears fixed windows of 30 s: shorter recordings are followed by silence, longer ones are cut into successive windows, and
    only steps of the recording itself are given. A recording too short for one step is heard as if silence followed it; one
    without any sample has no steps. Where padding would reach valid steps whatever mask is given (SEW, Conformers with
    batch norm, adapters, families that the platform does not know), recordings are encoded one at a time: exact, and slower.

    Args:
        source: Hub name or folder of a model in transformers' format; with or without a head, which is left out.
        layer: ``last`` is what the library calls the last hidden state; a number is the output of that layer (0: what goes into the
            first); ``weighted`` is a sum of all of them with learned softmax weights (Yang et al. 2021, SUPERB, arXiv:2105.01051).
        revision: Branch, tag or commit on the hub.
        remote_code: Whether Python files of the model's own may run.
        dtype: Of the weights; features are float32 always.
        gradient_checkpointing: Compute layers again in the backward pass rather than keep their insides.
        pretrained: False builds the same architecture with fresh weights.
        spec_augment: Whether the library's own masking acts in training, as much as the model's configuration says.

    Raises:
        ConfigError: beginning with the argument's name.
    """

    def __init__(
        self,
        source: str,
        layer: int | Literal["last", "weighted"] = "last",
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
        self.row_by_row, self.prefix = found.row_by_row, found.prefix
        self.sample_rate_hz = int(found.extractor.sampling_rate)
        self.lengths = Lengths()
        if self.row_by_row:
            log.info("%s: recordings are encoded one at a time, because padding would change what this encoder hears", source)
        else:
            hide_padding(self.model, self.lengths)
            self._tell_sizes()
        self._settle(folder)
        self.gradient_checkpointing = gradient_checkpointing
        if gradient_checkpointing:
            self.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        self.train()  # transformers hands out pre-trained models in eval mode, and Lightning leaves modes as it finds them

    def forward(self, waveform: Tensor, num_samples: Tensor) -> tuple[Tensor, Tensor]:
        """Encode (B, S) audio with (B,) valid samples into (B, U, D) float32 features, 0 at padding, and (B,) valid steps."""
        waveform = waveform.float().masked_fill(padding_mask(num_samples, waveform.shape[1]), 0.0)
        waveform = nn.functional.pad(waveform, (0, max(self.front_end.min_samples - waveform.shape[1], 0)))
        encode = self._one_by_one if self.row_by_row else self._together
        features, num_steps = encode(waveform, num_samples)
        num_steps = num_steps.masked_fill(num_samples == 0, 0)
        return features.float().masked_fill(padding_mask(num_steps, features.shape[1])[..., None], 0.0), num_steps

    def train(self, mode: bool = True) -> PretrainedEncoder:
        """Training mode for all but batch norms, which keep the statistics that they were trained with: rows must not mix."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, _BatchNorm):
                module.eval()
        return self

    def save(self, folder: Path, half: bool = False) -> dict[str, Any]:
        """Write encoder and feature extractor in transformers' own format, and the weights of the layers beside them."""
        model = copy.deepcopy(self.model).half() if half else self.model
        weights = {self.prefix + name: value for name, value in model.state_dict().items()} if self.prefix else None
        model.save_pretrained(folder, state_dict=weights)
        self.extractor.save_pretrained(folder)
        if self.settings.layer == "weighted":
            save_file({"layer_weights": self.layer_weights.detach().cpu()}, Path(folder) / LAYER_WEIGHTS)
        kept = {name: getattr(self.settings, name) for name in ("layer", "remote_code", "dtype", "spec_augment")}
        return {**kept, "gradient_checkpointing": self.gradient_checkpointing}

    def _together(self, waveform: Tensor, num_samples: Tensor) -> tuple[Tensor, Tensor]:
        """Encode all rows of a batch at once."""
        heard = num_samples.clamp(min=self.front_end.min_samples)
        num_steps = self.front_end.num_steps(heard, self.model)
        self.lengths.num_samples, self.lengths.num_steps = heard, num_steps
        longest = int(num_steps.max())
        features = self._choose(self._states(self.front_end(waveform, num_samples), longest))
        return self.front_end.regroup(features, num_samples)[:, :longest], num_steps

    def _one_by_one(self, waveform: Tensor, num_samples: Tensor) -> tuple[Tensor, Tensor]:
        """Encode every row as if it were alone."""
        rows = []
        for row, samples in zip(waveform, num_samples.tolist(), strict=True):
            length = max(samples, self.front_end.min_samples)
            inputs = self.front_end(row[None, :length], num_samples.new_tensor([samples]))
            rows.append(self._choose(self._states(inputs, length))[0])
        features = nn.utils.rnn.pad_sequence(rows, batch_first=True)
        return features, num_samples.new_tensor([len(row) for row in rows])

    def _states(self, inputs: dict[str, Tensor], longest: int) -> tuple[Tensor, ...]:
        """Every layer's output, or only the last hidden state where that is asked for; ``longest`` bounds the steps of any row."""
        inputs = {name: value.to(self.model.dtype) if value.is_floating_point() else value for name, value in inputs.items()}
        if self.settings.spec_augment:  # the library refuses to hide a block longer than the whole
            self.model.config.apply_spec_augment = longest >= self.model.config.mask_time_length
        if self.settings.layer == "last":
            return (self.model(**inputs).last_hidden_state,)
        return self.model(**inputs, output_hidden_states=True).hidden_states

    def _choose(self, states: tuple[Tensor, ...]) -> Tensor:
        """The features (B, U, D) among the layers' outputs."""
        if self.settings.layer == "last":
            return states[0]
        if self.settings.layer != "weighted":
            return states[self.settings.layer]
        shares = self.layer_weights.softmax(0)
        return torch.stack([share * state.float() for share, state in zip(shares, states, strict=True)]).sum(0)

    def _settle(self, folder: Path) -> None:
        """Make the layers' weights, and let rest what has no part in the features: distributed training waits for every gradient."""
        unmasked = getattr(self.model, "masked_spec_embed", None)
        if self.settings.layer != "last" or self.row_by_row:
            states = self._states_of_noise()
            require_layer(self.settings, max(len(states) - 1, getattr(self.model.config, "num_hidden_layers", 0)))
            if self.settings.layer == "weighted":
                self.layer_weights = nn.Parameter(stored_weights(folder / LAYER_WEIGHTS, len(states)))
            used = parameters_behind(self._choose(states))
            for parameter in self.parameters():
                parameter.requires_grad_(id(parameter) in used)
        if unmasked is not None:
            unmasked.requires_grad_(self.settings.spec_augment)

    def _states_of_noise(self) -> tuple[Tensor, ...]:
        """What the model gives for half a second of noise.

        Raises:
            ConfigError: if it gives no sequence of features.
        """
        num_samples = torch.tensor([max(self.sample_rate_hz // 2, self.front_end.min_samples)])
        noise = 0.1 * torch.randn(1, int(num_samples), generator=torch.Generator().manual_seed(0))
        self.eval()
        self.lengths.num_samples = num_samples
        self.lengths.num_steps = num_samples  # nothing is padded
        source = self.settings.source
        with reading(source, "a speech encoder that gives hidden states"):
            states = self._states(self.front_end(noise, num_samples), int(num_samples))
        if any(not isinstance(state, Tensor) or state.ndim != 3 for state in states) or not states:
            shapes = [tuple(state.shape) for state in states if isinstance(state, Tensor)]
            raise ConfigError(f"source: {source!r} gives no features of one width a step (B, U, D) but {shapes}: it is no speech encoder")
        return states

    def _tell_sizes(self) -> None:
        """Width and rate of the features, where the configuration says them; others are found by hearing."""
        config, front_end = self.model.config, self.front_end
        self.output_dim = int(config.hidden_size)
        self.frame_rate_hz = self.sample_rate_hz / front_end.hop_samples


def parameters_behind(features: Tensor) -> set[int]:
    """Identities of the parameters that the gradient of ``features`` reaches."""
    queue, seen, found = [features.grad_fn], set(), set()
    while queue:
        node = queue.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.add(id(node.variable))
        queue += [following for following, _ in node.next_functions]
    return found


def stored_weights(path: Path, layers: int) -> Tensor:
    """Weights of ``layers`` layers before the softmax: those that ``save`` wrote, else all alike.

    Raises:
        ConfigError: if the file holds another number of them.
    """
    if not path.is_file():
        return torch.zeros(layers)
    weights = load_file(path)["layer_weights"].float()
    if len(weights) != layers:
        raise ConfigError(f"source: {path} holds weights of {len(weights)} layers, and the model beside it has {layers}. Remove the file")
    return weights
