"""Every family with embeddings, positions and masks with gaps, against transformers' own call on ids."""

import pytest
import torch
from language_models import DRIVEN, REFUSED

from spectron.errors import ConfigError
from spectron.generation import DecodingState, visibility
from spectron.language_models import CausalLanguageModel

LENGTH, SHORT = 16, 9
CLOSE = {"atol": 1e-4, "rtol": 1e-4}
WINDOW = 6  # of the tiny models that have one


@pytest.fixture(params=DRIVEN)
def model(request, tiny_language_model):
    return CausalLanguageModel(source=str(tiny_language_model(request.param))).eval()


def some_ids(rows=1, length=LENGTH):
    return torch.randint(3, 290, (rows, length), generator=torch.Generator().manual_seed(3))


def gaps():
    """Return a row without gaps and a row with gaps."""
    places = torch.zeros(2, LENGTH, dtype=torch.bool)
    places[0] = True
    places[1, [0, 1, 4, 5, 6, 10, 11, 13, 15]] = True
    return places


def read(model, ids, valid):
    positions = (valid.long().cumsum(1) - 1).clamp(min=0)
    return model(model.embed(ids), visibility(valid, ids.shape[1]), positions)[0]


@torch.no_grad()
def test_logits_are_the_librarys_alone_and_in_batch_with_gaps(model):
    ids, valid = some_ids(2), gaps()
    logits = model.logits(read(model, ids, valid))
    for row in range(2):
        own = model.lm(input_ids=ids[row, valid[row]][None]).logits[0]
        torch.testing.assert_close(logits[row, valid[row]], own, **CLOSE)
    assert logits.dtype == torch.float32


@torch.no_grad()
def test_step_by_step_gives_logits_of_whole_sequence(model):
    ids, valid = some_ids(2), gaps()
    whole, state = read(model, ids, valid), DecodingState(model, 2, torch.device("cpu"))
    first = [state.extend(model.embed(ids[:, :5]), valid[:, :5])]  # a prefix at once, as decoding reads the prompt
    steps = [state.extend(model.embed(ids[:, i : i + 1]), valid[:, i : i + 1]) for i in range(5, LENGTH)]
    torch.testing.assert_close(torch.cat(first + steps, dim=1)[valid], whole[valid], **CLOSE)


@torch.no_grad()
def test_prefix_is_bidirectional_or_model_states_that_it_cannot(model):
    ids = some_ids()
    attention_mask = visibility(torch.ones(1, LENGTH, dtype=torch.bool), LENGTH)
    attention_mask[:, :4, :4] = True
    positions = torch.arange(LENGTH)[None]
    embeddings = model.embed(ids)
    changed = embeddings.clone()
    changed[:, 3] *= -1
    difference = (
        (model(changed, attention_mask, positions)[0] - model(embeddings, attention_mask, positions)[0])
        .abs()
        .amax(-1)[0]
    )
    assert bool((difference[:3] > 1e-4).all()) == model.bidirectional
    changed = embeddings.clone()
    changed[:, 4] *= -1
    difference = (
        (model(changed, attention_mask, positions)[0] - model(embeddings, attention_mask, positions)[0])
        .abs()
        .amax(-1)[0]
    )
    assert float(difference[:4].max()) == 0  # beyond the prefix nothing is seen ahead


@pytest.mark.parametrize("family", ["bloom", "gpt_neo"])
def test_families_without_bidirectional_attention(family, tiny_language_model):
    assert not CausalLanguageModel(source=str(tiny_language_model(family))).bidirectional


def test_families_with_bidirectional_attention(tiny_language_model):
    assert CausalLanguageModel(source=str(tiny_language_model("gpt2"))).bidirectional


@torch.no_grad()
@pytest.mark.parametrize("family", ["mistral", "gemma3", "phi3"])
def test_window_counts_positions_and_cache_keeps_whole_past(family, tiny_language_model):
    """The last token of a long row must not depend on a token beyond the windows of all layers together."""
    model = CausalLanguageModel(source=str(tiny_language_model(family))).eval()
    ids, valid = some_ids(), torch.ones(1, LENGTH, dtype=torch.bool)
    other = ids.clone()
    other[0, 0] += 1
    moved = (read(model, other, valid) - read(model, ids, valid)).abs().amax(-1)[0]
    reach = 2 * (WINDOW - 1)  # of two sliding layers
    assert moved[0] > 1e-3
    assert (float(moved[reach + 1 :].max()) == 0) == (family != "gemma3")  # whose second layer sees all


def test_building_draws_no_random_numbers_and_keeps_windows(tiny_language_model):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    model = CausalLanguageModel(source=str(tiny_language_model("mistral")))
    assert torch.rand(1) == expected
    assert model.lm.config.sliding_window == WINDOW
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize(
    ("family", "what"),
    [
        ("bamba", "it has layers of the kind linear_attention that carry a state"),
        ("falcon_h1", "it has layers of the kind hybrid that carry a state"),
        ("lfm2", "it has layers of the kind conv that carry a state"),
        ("recurrent_gemma", "it has layers of the kind linear_attention that carry a state"),
        ("rwkv", "it has layers that carry a state"),
    ],
)
def test_refusal_names_recurrent_layers(family, what, tiny_language_model):
    with pytest.raises(ConfigError, match=what) as refused:
        CausalLanguageModel(source=str(tiny_language_model(family)))
    assert "Error" not in str(refused.value)  # an exception of the library would not help a user


@pytest.mark.parametrize("family", REFUSED)
def test_undrivable_family_is_refused_when_built(family, tiny_language_model):
    with pytest.raises(ConfigError, match=r"does not reproduce its own logits .* Use a decoder") as raised:
        CausalLanguageModel(source=str(tiny_language_model(family)))
    assert raised.value.key == "source"
