"""LoRA: small trained matrices added to frozen linear layers, with peft.

Source: Hu et al. 2022 (arXiv:2106.09685).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from spectron.errors import ConfigError, did_you_mean, require_extra
from spectron.ranges import BelowOne, Count, Size, checks_ranges


@checks_ranges
@dataclass
class LoraSettings:
    """Settings of LoRA adapters.

    Args:
        rank: Rank of an adapter.
        alpha: An adapter's output is scaled by ``alpha / rank``.
        dropout: Dropout of an adapter's input, in training.
        targets: Names of layers, or ends of their names (``q_proj``); None takes peft's choice for the model's family,
            or all linear layers if peft does not know the family.
    """

    rank: Size = 8
    alpha: Count = 16
    dropout: BelowOne = 0.0
    targets: list[str] | None = None


def add_adapters(lm: nn.Module, settings: LoraSettings) -> None:
    """Add adapters to a model's layers, in place, and freeze all other weights.

    Raises:
        ConfigError: with the key ``lora.targets``, for a name that no layer has.
    """
    require_extra("lora", "CausalLanguageModel.lora", "peft")
    from peft import LoraConfig, inject_adapter_in_model
    from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as PEFTS_CHOICE
    from transformers.pytorch_utils import Conv1D

    if settings.targets is not None:
        require_layers(lm, settings.targets)
    model_type = getattr(lm.config, "model_type", "")
    chosen = settings.targets or ("all-linear" if model_type not in PEFTS_CHOICE else list(PEFTS_CHOICE[model_type]))
    # GPT-2's layers store their weights as (in, out).
    transposed = any(isinstance(module, Conv1D) for module in lm.modules())
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=chosen,
        fan_in_fan_out=transposed,
    )
    try:
        inject_adapter_in_model(config, lm)
    except ValueError as error:
        raise ConfigError(
            f"peft cannot adapt {chosen} of this model: {error}. Name linear layers", key="lora.targets"
        ) from error


def require_layers(lm: nn.Module, targets: list[str]) -> None:
    """Refuse a target that is no layer.

    Raises:
        ConfigError: with the names of the layers.
    """
    names = [
        name for name, module in lm.named_modules() if name and not any(module.children()) and hasattr(module, "weight")
    ]
    ends = sorted({name.rpartition(".")[2] for name in names})
    if not targets:
        raise ConfigError(
            f"the list is empty. Remove the key for peft's choice, or name some of: {', '.join(ends)}",
            key="lora.targets",
            allowed=ends,
        )
    for target in targets:
        if not any(name == target or name.endswith("." + target) for name in names):
            raise ConfigError(
                f"no layer is named {target!r}. {did_you_mean(target, ends)}", key="lora.targets", allowed=ends
            )


def set_adapter_modes(lm: nn.Module, checkpointing: bool) -> None:
    """Set the modes of training: only the adapters apply dropout; the frozen base stays in eval mode.

    Layers that compute their activations again in the backward pass have to be in training mode for that.
    """
    from peft.tuners.lora import LoraLayer
    from transformers.modeling_layers import GradientCheckpointingLayer

    lm.eval()
    for module in lm.modules():
        if isinstance(module, LoraLayer):
            module.lora_dropout.train()
        elif checkpointing and isinstance(module, GradientCheckpointingLayer):
            module.training = True


def merge_adapters(lm: nn.Module) -> None:
    """Add every adapter to its layer's weights and remove it, in place; the result is a plain model of the library."""
    from peft.tuners.lora import LoraLayer

    for name, module in list(lm.named_modules()):
        if isinstance(module, LoraLayer):
            module.merge(safe_merge=True)
            owner, _, leaf = name.rpartition(".")
            setattr(lm.get_submodule(owner), leaf, module.get_base_layer())
