"""Drives a transformers causal LM with embeddings, explicit positions, an explicit mask and a cache with gaps.

Families differ in the masks that they take, and some cannot be driven this way at all (recurrent ones, those that count places instead
of positions). Nothing is keyed to a family's name: a model is tried at build time on a few tokens against its own ``model(input_ids)``.
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

# Largest difference to the library's own logits, as a share of the largest of these.
TOLERANCE = {torch.float32: 2e-4, torch.float16: 0.02, torch.bfloat16: 0.05}
# What bodies give beside hidden states, and the code behind them passes on.
BESIDE_HIDDEN = ("cross_attentions", "router_logits")
# transformers' words for layers whose past is a state and not keys and values, alone or beside attention.
STATES = ("linear_attention", "conv", "hybrid", "hybrid_sliding")
TRIED_WINDOW = 4
TRIED_VALID = ((1, 1, 1, 1, 1, 1, 1, 1, 1, 1), (1, 1, 0, 0, 1, 1, 1, 0, 1, 1))  # whole, and with gaps
FIRST_PART = 6  # tokens of the first of two cached calls


@dataclass
class Past:
    """What was read so far: keys and values by layer, and the positions (B, S) of the places that they belong to."""

    keys_values: Any
    positions: Tensor


class Driver:
    """Calls a model's body in the one form of mask that it takes.

    Args:
        lm: A causal LM of transformers.
        make_mask: Makes that form.
    """

    def __init__(self, lm: Any, make_mask: MaskMaker) -> None:
        self.make_mask = make_mask
        self.body = body_name(lm)
        self.takes_positions = "position_ids" in inspect.signature(getattr(lm, self.body).forward).parameters

    def __call__(
        self, lm: Any, embeddings: Tensor, attention_mask: Tensor, positions: Tensor, past: Past | None
    ) -> tuple[Tensor, Past | None]:
        """Embeddings (B, L, D) to hidden states (B, L, D) and the past to pass on, None in training."""
        from transformers import DynamicCache

        cached = past is not None or not lm.training
        # Without the model's configuration the cache keeps all of the past: the windows are cut by the mask.
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
    """The attribute that holds a model's body, all that lies before its output layer.

    Raises:
        ValueError: if there is none.
    """
    from transformers import PreTrainedModel

    if lm.base_model is not lm:
        return str(lm.base_model_prefix)
    # A half of a larger model may keep the larger one's prefix and no module of that name, as Llama 4's text model does.
    bodies = [name for name, child in lm.named_children() if isinstance(child, PreTrainedModel)]
    if len(bodies) != 1:
        raise ValueError(f"{type(lm).__name__} has {len(bodies)} bodies, not one")
    return bodies[0]


class _Given(nn.Module):
    """Stands in for a model's body: gives hidden states that are there already."""

    def __init__(self, hidden: Tensor) -> None:
        super().__init__()
        self.hidden = hidden

    @property
    def decoder(self) -> _Given:
        """Itself: some models call their body's decoder directly."""
        return self

    def forward(self, *_: Any, **__: Any) -> Any:
        """The hidden states, as a model's body gives them; of all else that it may give, such as a router's logits, nothing."""
        from transformers.modeling_outputs import BaseModelOutputWithPast

        output = BaseModelOutputWithPast(last_hidden_state=self.hidden)
        for name in BESIDE_HIDDEN:
            setattr(output, name, None)
        return output


def logits_of(lm: Any, hidden: Tensor) -> Tensor:
    """Hidden states (..., D) to logits (..., V) by the model's own code behind its body: output layer, scaling, soft cap.

    A shallow copy of the model, its body replaced, is called: what each family does there is written nowhere but in its forward.
    """
    behind = copy.copy(lm)
    behind._modules = {**lm._modules, body_name(lm): _Given(hidden.reshape(1, -1, hidden.shape[-1]))}
    flat = behind(inputs_embeds=hidden.reshape(1, -1, hidden.shape[-1]), use_cache=False).logits
    return flat.reshape(*hidden.shape[:-1], flat.shape[-1])


@torch.no_grad()
def find_driver(lm: Any, name: str) -> tuple[Driver, bool]:
    """The driver under which a model gives its own logits, and whether places can look at later ones under it.

    Raises:
        ConfigError: beginning with ``source``, if there is none.
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
                except Exception as error:  # each family refuses what it does not take in its own way
                    reasons.append(f"{form}: {type(error).__name__}: {' '.join(str(error).split())[:120]}")
    except Exception as error:  # a model that cannot even read a few ids
        reasons.append(f"its own forward: {type(error).__name__}: {' '.join(str(error).split())[:120]}")
    finally:
        for module in was_training:
            module.training = True
    raise ConfigError(
        f"{name!r} is a {config.model_type} model, which does not give its own logits when it is driven by embeddings, positions "
        f"and a mask with gaps, as a spoken language model has to be ({state_of(lm) or '; '.join(reasons)}). Take a decoder all of whose "
        "layers are attention that obeys mask and position_ids, such as one of the families gpt2, opt, gpt_neox, llama, mistral, qwen, "
        "gemma or phi",
        key="source",
    )


def state_of(lm: Any) -> str:
    """What does not fit in a model with layers that carry a state from place to place; nothing for one of attention alone."""
    kinds = sorted({kind for kind in getattr(lm.config.get_text_config(), "layer_types", None) or [] if kind in STATES})
    if not kinds and not lm._is_stateful:
        return ""
    which = f" of the kind {' and '.join(kinds)}" if kinds else ""
    return (
        f"it has layers{which} that carry a state from place to place, which no mask reaches: they would read the gaps of a batch as if "
        "these were text, and cannot see a prompt both ways"
    )


class Trial:
    """A few tokens of a model, whole and with gaps, and its own logits for them.

    Args:
        lm: The model, in eval mode.
    """

    def __init__(self, lm: Any) -> None:
        embedding = lm.get_input_embeddings()
        device = embedding.weight.device
        self.lm = lm
        self.valid = torch.tensor(TRIED_VALID, dtype=torch.bool, device=device)
        # Far apart in the vocabulary, and the same every time: building must not draw random numbers.
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
        """Raise where driving gives other logits than the model's own, at once or in two cached calls."""
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
        share = float((logits - self.own).abs().max() / self.own.abs().max())
        if not share <= self.tolerance:
            raise ValueError(f"read {how}, its logits differ by {share:.1%}")

    def bidirectional(self, driver: Driver) -> bool:
        """Whether the first place's hidden state changes when it may look at those after it."""
        rows, length = self.ids.shape
        everything = torch.ones(rows, length, length, dtype=torch.bool, device=self.ids.device)
        places = torch.arange(length, device=self.ids.device).expand(rows, -1)
        causal, _ = driver(self.lm, self.embeddings, everything.tril(), places, None)
        ahead, _ = driver(self.lm, self.embeddings, everything, places, None)
        return bool((causal[:, 0] - ahead[:, 0]).abs().max() > self.tolerance * causal.abs().max())
