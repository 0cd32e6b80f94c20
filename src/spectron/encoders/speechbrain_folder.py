"""Encoders of speechbrain from a folder: ``hyperparams.yaml`` and the ``.ckpt`` files that its ``pretrainer`` names."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spectron.audio.mel import padding_mask
from spectron.contracts import SpeechEncoder
from spectron.encoders.row_by_row import keep_statistics, noise, one_by_one, rest_unused
from spectron.errors import ConfigError
from spectron.files import writing
from spectron.ranges import SampleRate, checks_ranges
from spectron.weights.checkpoint_files import read_pickled_tensors
from spectron.weights.hub import locate, reading
from spectron.weights.hyperpyyaml_modules import Hyperparams
from spectron.weights.soundness import require_sound, tensors_in
from spectron.weights.speechbrain_import import import_speechbrain
from spectron.weights.state_dicts import stored

FILE = "hyperparams.yaml"
# Modules of a speaker or language recogniser from waveform to embedding; other models have one module named encoder.
CLASSIFIER = ("compute_features", "mean_var_norm", "embedding_model")


@checks_ranges
class SpeechBrainEncoder(SpeechEncoder):
    """The encoder of a speechbrain model: ``modules.encoder``, or the three modules that make an embedding.

    An ``encoder`` (recognisers of all kinds, ``LengthsCapableSequential`` from waveform to features) returns a
    sequence. The modules ``compute_features``, ``mean_var_norm`` and ``embedding_model`` of a classifier (ECAPA-TDNN,
    x-vectors) return one vector per recording. Recordings are encoded one at a time, because speechbrain's convolutions
    depend on padding. Norms keep their statistics in training.

    Args:
        source: The folder.
        sample_rate_hz: Rate of its waveform, if ``hyperparams.yaml`` has no ``sample_rate``.
        remote_code: Whether the file may name classes and functions outside speechbrain and torch.nn, including those
            of the folder.
        pretrained: False keeps fresh weights.

    Raises:
        ConfigError: with the argument as its key.
    """

    def __init__(
        self, source: str, sample_rate_hz: SampleRate | None = None, remote_code: bool = False, pretrained: bool = True
    ) -> None:
        super().__init__()
        import_speechbrain("SpeechBrainEncoder")
        self.remote_code = remote_code
        self.folder = folder = locate(source)
        if not (folder / FILE).is_file():
            raise ConfigError(
                f"{source!r} ({folder}) holds no {FILE}, so it is no model of speechbrain. Correct `source`",
                key="source",
            )
        self.hyperparams = (folder / FILE).read_text(encoding="utf-8")
        if remote_code and str(folder) not in sys.path:
            sys.path.append(str(folder))
        with reading(source, "a model of speechbrain"):
            parameters = Hyperparams(self.hyperparams, remote_code)
            self.parts = nn.ModuleDict(
                {name: parameters.make("modules", name) for name in encoder_modules(parameters, source)}
            )
            self.loadables = {
                name: parameters.make("pretrainer", "loadables", name)
                for name in loadables(parameters, list(self.parts))
            }
        self.files = {name: weights_file(folder, parameters, name) for name in self.loadables}
        self.sample_rate_hz = agreed_rate(sample_rate_hz, parameters.make("sample_rate"))
        for name, loadable in self.loadables.items():
            if pretrained or hasattr(loadable, "glob_mean"):  # statistics of the data are no weights
                load_weights(loadable, self.files[name], source)
        keep_in_state(self)
        with reading(source, "an encoder of waveforms"):
            rest_unused(self.eval(), self._alone(noise(self.sample_rate_hz), self.sample_rate_hz))
        self.train()

    def forward(self, waveform: Tensor, num_samples: Tensor) -> tuple[Tensor, Tensor]:
        """Encode (B, S) audio with (B,) valid samples into (B, U, D) float32 features, 0 at padding, and (B,) steps."""
        waveform = waveform.float().masked_fill(padding_mask(num_samples, waveform.shape[1]), 0.0)
        features, num_steps = one_by_one(self._alone, waveform, num_samples, self.sample_rate_hz // 10)
        return features.float().masked_fill(padding_mask(num_steps, features.shape[1])[..., None], 0.0), num_steps

    def train(self, mode: bool = True) -> SpeechBrainEncoder:
        """Set training mode, except for norms with stored statistics."""
        super().train(mode)
        keep_statistics(self)
        return self

    def save(self, folder: Path, half: bool = False) -> dict[str, Any]:
        """Write the same ``hyperparams.yaml``, and the weights under the names in it."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FILE).write_text(self.hyperparams, encoding="utf-8")
        for name, loadable in self.loadables.items():
            state = loadable._statistics_dict() if hasattr(loadable, "glob_mean") else loadable.state_dict()
            with writing(folder / self.files[name].name, RuntimeError) as path:
                torch.save({key: stored(value, half) for key, value in state.items()}, path)
        for path in self.folder.glob("*.py") if self.remote_code else ():
            shutil.copy(path, folder)
        return {"sample_rate_hz": self.sample_rate_hz, "remote_code": self.remote_code}

    def _alone(self, waveform: Tensor, num_samples: int) -> Tensor:
        """Return features (U, D) of one recording (1, S), computed as in ``speechbrain.inference``."""
        whole = torch.ones(1, device=waveform.device)
        if "embedding_model" in self.parts:
            features = self.parts["mean_var_norm"](self.parts["compute_features"](waveform), whole)
            features = self.parts["embedding_model"](features, whole)
        else:
            features = self.parts["encoder"](waveform, whole)
        if isinstance(features, dict):
            features = features["embeddings"]
        if "transformer" in self.parts:
            transformer: Any = self.parts["transformer"]
            features = transformer.encode(features, whole)
        return features.flatten(2)[0] if features.ndim > 2 else features


def encoder_modules(parameters: Hyperparams, source: str) -> list[str]:
    """Return the names of the modules that encode a waveform.

    Raises:
        ConfigError: if they are missing.
    """
    names = parameters.keys("modules")
    if "encoder" in names:
        # The older Transformer recognisers encode with two modules.
        return (
            ["encoder", "transformer"]
            if parameters.make("transformer_beam_search") and "transformer" in names
            else ["encoder"]
        )
    if set(CLASSIFIER) <= set(names):
        return list(CLASSIFIER)
    raise ConfigError(
        f"{source!r} has the modules {', '.join(names) or 'none'} in its {FILE}; an encoder is either one named "
        f"`encoder` or {', '.join(CLASSIFIER)} together. Add `encoder` under `modules:` in a copy of the folder",
        key="source",
    )


def loadables(parameters: Hyperparams, modules: list[str]) -> list[str]:
    """Return the names of the pretrainer's objects that belong to the encoder, without a language model's."""
    wanted = {identity for name in modules for identity in parameters.objects("modules", name)}
    return [
        name
        for name in parameters.keys("pretrainer", "loadables")
        if wanted & parameters.objects("pretrainer", "loadables", name)
    ]


def weights_file(folder: Path, parameters: Hyperparams, name: str) -> Path:
    """Return the file of a loadable in the folder; only the file name of the original path counts.

    Raises:
        ConfigError: if the file is missing.
    """
    path = folder / Path(str(parameters.make("pretrainer", "paths", name) or f"{name}.ckpt")).name
    if not path.is_file():
        there = ", ".join(sorted(file.name for file in folder.glob("*.ckpt"))) or "none"
        raise ConfigError(
            f"{folder} lacks {path.name}, which its {FILE} loads into `{name}` (.ckpt files there: {there}). Add it",
            key="source",
        )
    return path


def load_weights(module: Any, path: Path, source: str) -> None:
    """Load a module from a speechbrain checkpoint, tensors only.

    Raises:
        CheckpointError: if the file holds anything else, is damaged, or has tensors that are not finite.
        ConfigError: if the file lacks tensors of the module.
    """
    from speechbrain.utils.checkpoints import hook_on_loading_state_dict_checkpoint

    state = read_pickled_tensors(path, "source")
    with reading(source, f"weights of speechbrain ({path.name})"):
        if hasattr(module, "_load_statistics_dict"):
            module._load_statistics_dict(state)
            return
        tensors, wanted = hook_on_loading_state_dict_checkpoint(state), module.state_dict()
        known = {name: tensor for name, tensor in tensors_in(tensors) if name in wanted}
        require_sound(known.items(), str(path), "source", lambda name: wanted[name].is_floating_point())
        missing = module.load_state_dict(tensors, strict=False).missing_keys
    if missing:
        raise ConfigError(
            f"{path} lacks {len(missing)} tensors ({', '.join(missing[:4])}, ...): it belongs to another {FILE}",
            key="source",
        )


def agreed_rate(given: int | None, stated: Any) -> int:
    """Return the sample rate, from the argument or the file.

    Raises:
        ConfigError: if there is none, or two different ones.
    """
    if stated is None and given is None:
        raise ConfigError(
            f"{FILE} has no `sample_rate`. Give the rate that the model was trained at, most often 16000",
            key="sample_rate_hz",
        )
    if stated is not None and given is not None and int(stated) != given:
        raise ConfigError(f"{FILE} states {stated}, not {given}. Remove the key", key="sample_rate_hz")
    return int(stated or given or 0)


def keep_in_state(encoder: nn.Module) -> None:
    """Turn speechbrain's global statistics into buffers, which are stored in checkpoints and moved to devices."""
    for module in encoder.modules():
        if getattr(module, "norm_type", None) == "global" and hasattr(module, "update_until_epoch"):
            for name in ("glob_mean", "glob_std"):
                value = getattr(module, name)
                delattr(module, name)
                module.register_buffer(name, value)
