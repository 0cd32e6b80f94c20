"""Drivers of transformers' causal LMs: embeddings, explicit positions, an explicit mask and a cache with gaps.

Families differ in the masks that they accept, and some cannot be driven this way at all (recurrent ones, those that
count places instead of positions). Nothing depends on a family's name: when a model is built, each mask format is
compared with its own ``model(input_ids)`` on a few tokens.
"""

from __future__ import annotations

import copy
import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from spectron.errors import ConfigError
from spectron.language_models.masks import MaskMaker, mask_makers, narrow_windows

# Largest accepted difference to the library's own logits, as a fraction of the largest logit.
TOLERANCE = {torch.float32: 2e-4, torch.float16: 0.02, torch.bfloat16: 0.05}
# Outputs of a body besides hidden states, which the code after it passes on.
BESIDE_HIDDEN = ("cross_attentions", "router_logits")
# transformers' names of layers whose past is a state instead of keys and values, alone or in addition to attention.
STATES = ("linear_attention", "conv", "hybrid", "hybrid_sliding")
TRIED_WINDOW = 4
TRIED_VALID = ((1, 1, 1, 1, 1, 1, 1, 1, 1, 1), (1, 1, 0, 0, 1, 1, 1, 0, 1, 1))  # whole, and with gaps
FIRST_PART = 6  # tokens of the first of two cached calls


@dataclass
class Past:
    """Cache: keys and values by layer, and the positions (B, S) of their places."""

    keys_values: Any
    positions: Tensor


class Driver:
    """Caller of a model's body with one mask format.

    Args:
        lm: A causal LM of transformers.
        make_mask: Makes masks of that format.
    """

    def __init__(self, lm: Any, make_mask: MaskMaker) -> None:
        self.make_mask = make_mask
        self.body = body_name(lm)
        self.takes_positions = "position_ids" in inspect.signature(getattr(lm, self.body).forward).parameters

    def __call__(
        self, lm: Any, embeddings: Tensor, attention_mask: Tensor, positions: Tensor, past: Past | None
    ) -> tuple[Tensor, Past | None]:
        """Transform embeddings (B, L, D) into hidden states (B, L, D); return them and the cache, None in training."""
        from transformers import DynamicCache

        cached = past is not None or not lm.training
        # Without the model's configuration the cache keeps the whole past: the mask applies the windows.
        keys_values = past.keys_values if past is not None else DynamicCache() if cached else None
        keys = torch.cat([past.positions, positions], dim=1) if past is not None else positions
        output = getattr(lm, self.body)(
            inputs_embeds=embeddings,
            attention_mask=self.make_mask(attention_mask, positions, keys, embeddings.dtype),
            past_key_values=keys_values,
            use_cache=cached,
            **({"position_ids": positions} if self.takes_positions else {}),
        )
        return output.last_hidden_state, Past(keys_values, keys) if cached else None


def body_name(lm: Any) -> str:
    """Return the attribute of a model's body, everything before its output layer.

    Raises:
        ValueError: if there is none.
    """
    from transformers import PreTrainedModel

    if lm.base_model is not lm:
        return str(lm.base_model_prefix)
    # A part of a larger model may keep the larger one's prefix without such a module, like Llama 4's text model.
    bodies = [name for name, child in lm.named_children() if isinstance(child, PreTrainedModel)]
    if len(bodies) != 1:
        raise ValueError(f"{type(lm).__name__} has {len(bodies)} bodies, not one")
    return bodies[0]


class _Given(nn.Module):
    """Substitute of a model's body that returns given hidden states."""

    def __init__(self, hidden: Tensor) -> None:
        super().__init__()
        self.hidden = hidden

    @property
    def decoder(self) -> _Given:
        """The substitute itself: some models call their body's decoder directly."""
        return self

    def forward(self, *_: Any, **__: Any) -> Any:
        """Return the hidden states in the format of a model's body; other outputs, such as router logits, are None."""
        from transformers.modeling_outputs import BaseModelOutputWithPast

        output = BaseModelOutputWithPast(last_hidden_state=self.hidden)
        for name in BESIDE_HIDDEN:
            setattr(output, name, None)
        return output


def logits_of(lm: Any, hidden: Tensor) -> Tensor:
    """Convert hidden states (..., D) to logits (..., V) with the model's own code: output layer, scaling, soft cap.

    Only a family's forward contains this code. A shallow copy of the model with a substitute for the body is called.
    """
    behind = copy.copy(lm)
    behind._modules = {**lm._modules, body_name(lm): _Given(hidden.reshape(1, -1, hidden.shape[-1]))}
    flat = behind(inputs_embeds=hidden.reshape(1, -1, hidden.shape[-1]), use_cache=False).logits
    return flat.reshape(*hidden.shape[:-1], flat.shape[-1])


@torch.no_grad()
def find_driver(lm: Any, name: str) -> tuple[Driver, bool]:
    """Find the driver that reproduces a model's own logits, and whether places can attend to later ones with it.

    Raises:
        ConfigError: with the key ``source``, if there is none.
    """
    config, was_training = lm.config.get_text_config(), {module for module in lm.modules() if module.training}
    lm.eval()
    reasons = []
    try:
        with narrow_windows(config, TRIED_WINDOW):
            trial = Trial(lm)
            for form, make_mask in mask_makers(config).items():
                driver = Driver(lm, make_mask)
                try:
                    trial.require_same(driver)
                    return driver, trial.bidirectional(driver)
                except Exception as error:  # each family raises other errors for masks that it does not accept
                    reasons.append(f"{form}: {type(error).__name__}: {' '.join(str(error).split())[:120]}")
    except Exception as error:  # a model that cannot even read a few ids
        reasons.append(f"its own forward: {type(error).__name__}: {' '.join(str(error).split())[:120]}")
    finally:
        for module in was_training:
            module.training = True
    raise ConfigError(
        f"{name!r} is a {config.model_type} model, which does not reproduce its own logits from embeddings, positions "
        f"and a mask with gaps, as a spoken language model needs ({state_of(lm) or '; '.join(reasons)}). Use a decoder "
        "whose layers are all attention layers that obey mask and position_ids, such as gpt2, opt, gpt_neox, llama, "
        "mistral, qwen, gemma or phi",
        key="source",
    )


def state_of(lm: Any) -> str:
    """Explain why a model with recurrent layers does not fit; return an empty text for a model of attention layers."""
    kinds = sorted({kind for kind in getattr(lm.config.get_text_config(), "layer_types", None) or [] if kind in STATES})
    if not kinds and not lm._is_stateful:
        return ""
    which = f" of the kind {' and '.join(kinds)}" if kinds else ""
    return (
        f"it has layers{which} that carry a state from place to place, which no mask affects: they would read the gaps "
        "of a batch as text, and cannot attend to a prompt bidirectionally"
    )


class Trial:
    """A few tokens, with and without gaps, and the model's own logits for them.

    Args:
        lm: The model, in eval mode.
    """

    def __init__(self, lm: Any) -> None:
        embedding = lm.get_input_embeddings()
        device = embedding.weight.device
        self.lm = lm
        self.valid = torch.tensor(TRIED_VALID, dtype=torch.bool, device=device)
        # Spread over the vocabulary, and always the same: building must not draw random numbers.
        self.ids = (torch.arange(self.valid.numel(), device=device) * 7919 % embedding.num_embeddings).reshape(
            self.valid.shape
        )
        self.positions = (self.valid.long().cumsum(1) - 1).clamp(min=0)
        self.embeddings = embedding(self.ids)
        self.own = torch.cat(
            [lm(input_ids=row[valid][None]).logits[0] for row, valid in zip(self.ids, self.valid, strict=True)]
        ).float()
        self.tolerance = TOLERANCE.get(self.embeddings.dtype, 0.05)

    def require_same(self, driver: Driver) -> None:
        """Raise a ``ValueError`` if the driver gives other logits than the model, in one call or in two cached ones."""
        length, cut = self.ids.shape[1], FIRST_PART
        itself = torch.eye(length, dtype=torch.bool, device=self.ids.device)
        attention_mask = (self.valid[:, None] & torch.ones_like(itself).tril()) | itself
        whole, _ = driver(self.lm, self.embeddings, attention_mask, self.positions, None)
        self._compare(whole, "at once")
        begun, past = driver(
            self.lm, self.embeddings[:, :cut], attention_mask[:, :cut, :cut], self.positions[:, :cut], None
        )
        ended, _ = driver(self.lm, self.embeddings[:, cut:], attention_mask[:, cut:], self.positions[:, cut:], past)
        self._compare(torch.cat([begun, ended], dim=1), "with a cache")

    def _compare(self, hidden: Tensor, how: str) -> None:
        logits = logits_of(self.lm, hidden)[self.valid].float()
        difference = float((logits - self.own).abs().max() / self.own.abs().max())
        if not difference <= self.tolerance:
            raise ValueError(f"read {how}, its logits differ by {difference:.1%}")

    def bidirectional(self, driver: Driver) -> bool:
        """Return whether the first place's hidden state changes when later places become visible to it."""
        rows, length = self.ids.shape
        everything = torch.ones(rows, length, length, dtype=torch.bool, device=self.ids.device)
        places = torch.arange(length, device=self.ids.device).expand(rows, -1)
        causal, _ = driver(self.lm, self.embeddings, everything.tril(), places, None)
        ahead, _ = driver(self.lm, self.embeddings, everything, places, None)
        return bool((causal[:, 0] - ahead[:, 0]).abs().max() > self.tolerance * causal.abs().max())
