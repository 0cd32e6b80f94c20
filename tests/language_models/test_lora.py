"""LoRA adapters: against a hand-worked sum, trained with a frozen base, merged when saved."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from spectron.errors import ConfigError
from spectron.generation import visibility
from spectron.language_models import CausalLanguageModel, LoraSettings
from spectron.training.optimisation import keep_frozen_in_eval

IDS = torch.arange(3, 15)[None]


def adapted(folder, **arguments):
    torch.manual_seed(0)
    model = CausalLanguageModel(source=str(folder), lora=LoraSettings(**{"rank": 4, **arguments}))
    with torch.no_grad():  # peft starts B at zero, which adds nothing
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.1)
    return model


def read(model):
    places = torch.arange(IDS.shape[1])[None]
    return model(model.embed(IDS), visibility(torch.ones_like(IDS, dtype=torch.bool), IDS.shape[1]), places)[0]


def test_adapter_adds_its_product(tiny_language_model):
    model = adapted(tiny_language_model("llama"), rank=3, alpha=6, targets=["q_proj"]).eval()
    layer = model.lm.model.layers[0].self_attn.q_proj
    inputs = torch.randn(2, 32)
    low = layer.lora_A.default.weight, layer.lora_B.default.weight
    by_hand = inputs @ layer.base_layer.weight.T + 6 / 3 * inputs @ low[0].T @ low[1].T
    torch.testing.assert_close(layer(inputs), by_hand, atol=1e-5, rtol=1e-5)
    assert not hasattr(model.lm.model.layers[0].self_attn.k_proj, "lora_A")


@pytest.mark.parametrize("family", ["gpt2", "llama", "gpt_neox", "opt", "cohere2", "phi"])
def test_only_adapters_train_and_merged_model_is_the_same(family, tiny_language_model, tmp_path):
    model = adapted(tiny_language_model(family))
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained
    assert all("lora_" in name for name in trained)
    read(model).square().mean().backward()
    assert all((parameter.grad is not None) == parameter.requires_grad for parameter in model.parameters())
    model.eval()
    assert model.save(tmp_path / "merged") == {}
    hidden = read(model)
    expected = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")(input_ids=IDS).logits
    torch.testing.assert_close(model.logits(hidden), expected, atol=1e-4, rtol=1e-4)
    merged = CausalLanguageModel(source=str(tmp_path / "merged")).eval()
    torch.testing.assert_close(read(merged), hidden, atol=1e-4, rtol=1e-4)
    assert not any("lora" in name for name, _ in merged.named_parameters())
    assert any("lora_" in name for name, _ in model.named_parameters())  # saving leaves the model itself alone


def test_checkpoint_contains_adapters(tiny_language_model):
    model, other = adapted(tiny_language_model("llama")).eval(), adapted(tiny_language_model("llama")).eval()
    with torch.no_grad():
        other.lm.model.layers[1].self_attn.q_proj.lora_A.default.weight.add_(1)
    assert (read(other) - read(model)).abs().max() > 1e-3
    other.load_state_dict(model.state_dict())
    assert torch.equal(read(other), read(model))


def test_only_adapters_apply_dropout_in_training(tiny_language_model):
    model = adapted(tiny_language_model("gpt2"), dropout=0.0).train()
    keep_frozen_in_eval(model)
    assert torch.equal(read(model), read(model))  # GPT-2's own dropout of 10 % rests
    model = adapted(tiny_language_model("gpt2"), dropout=0.5).train()
    keep_frozen_in_eval(model)
    assert not torch.equal(read(model), read(model))
    model.eval()
    assert torch.equal(read(model), read(model))


def test_wrong_lora_target_is_refused_with_layer_names(tiny_language_model):
    folder = str(tiny_language_model("llama"))
    for targets, said in (
        (["v_proj", "q_porj"], "no layer is named 'q_porj'. Did you mean `q_proj`"),
        ([], "the list is empty"),
        (["input_layernorm"], "peft cannot adapt"),
    ):
        with pytest.raises(ConfigError, match=said) as raised:
            CausalLanguageModel(source=folder, lora=LoraSettings(targets=targets))
        assert raised.value.key == "lora.targets"
        assert "peft" in said or {"q_proj", "v_proj"} <= set(raised.value.allowed)
    with pytest.raises(ConfigError) as raised:
        LoraSettings(rank=0)
    assert raised.value.key == "rank"


def test_gradient_checkpointing_keeps_gradients(tiny_language_model):
    def gradients(checkpointing):
        torch.manual_seed(0)
        lora = LoraSettings(rank=2)
        model = CausalLanguageModel(
            source=str(tiny_language_model("llama")), lora=lora, gradient_checkpointing=checkpointing
        )
        model.train()
        calls = []
        model.lm.model.layers[0].self_attn.register_forward_hook(lambda *_: calls.append(1))
        read(model).square().mean().backward()
        return len(calls), [parameter.grad for parameter in model.parameters() if parameter.requires_grad]

    (once, plain), (twice, again) = gradients(False), gradients(True)
    assert (once, twice) == (1, 2)
    assert sum(float(gradient.abs().sum()) for gradient in plain) > 0
    for one, other in zip(plain, again, strict=True):
        torch.testing.assert_close(one, other)
