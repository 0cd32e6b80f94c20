"""Tiny causal LMs of many families with large random weights, in folders as transformers saves them."""

from pathlib import Path

import torch

from spectron.language_models.tokenizer import TokenizerSettings, train_tokenizer

TEXT = (
    "the cow says moo\nthe capital of france is paris\n"
    "once upon a time there was a little girl\nwhere do you go my lovely\n"
)
VOCABULARY = 300
ATTENTION = {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 32}
MODERN = {**ATTENTION, "num_key_value_heads": 2, "intermediate_size": 48, "max_position_embeddings": 256}
GEMMA = {**MODERN, "head_dim": 8, "query_pre_attn_scalar": 8}
LLAMA4 = {**MODERN, "head_dim": 8, "intermediate_size_mlp": 48}
MAMBA = {"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 4}
STRANGE_SCALES = {
    "embedding_multiplier": 3.0,
    "logits_scaling": 4.0,
    "residual_multiplier": 0.5,
    "attention_multiplier": 0.2,
}

# Families that a spoken language model can use, by their name in the tests.
DRIVEN = {
    "gpt2": {"model_type": "gpt2", "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128},
    "opt": {"model_type": "opt", **ATTENTION, "ffn_dim": 48, "word_embed_proj_dim": 32, "max_position_embeddings": 128},
    "opt_projected": {
        "model_type": "opt",
        **ATTENTION,
        "ffn_dim": 48,
        "word_embed_proj_dim": 16,
        "do_layer_norm_before": False,
    },
    "gpt_neox": {"model_type": "gpt_neox", **ATTENTION, "intermediate_size": 48, "max_position_embeddings": 128},
    "llama": {"model_type": "llama", **MODERN},
    "llama_tied": {"model_type": "llama", **MODERN, "tie_word_embeddings": True},
    "qwen2": {"model_type": "qwen2", **MODERN},
    "qwen2_window": {
        "model_type": "qwen2",
        **MODERN,
        "use_sliding_window": True,
        "sliding_window": 6,
        "max_window_layers": 1,
    },
    "qwen3": {"model_type": "qwen3", **MODERN, "head_dim": 8},
    "gemma": {"model_type": "gemma", **MODERN, "head_dim": 8},
    "gemma2": {
        "model_type": "gemma2",
        **GEMMA,
        "sliding_window": 6,
        "final_logit_softcapping": 2.0,
        "attn_logit_softcapping": 5.0,
    },
    "gemma3": {
        "model_type": "gemma3_text",
        **GEMMA,
        "sliding_window": 6,
        "layer_types": ["sliding_attention", "full_attention"],
    },
    "mistral": {"model_type": "mistral", **MODERN, "sliding_window": 6},
    "phi": {"model_type": "phi", **MODERN},
    "phi3": {"model_type": "phi3", **MODERN, "sliding_window": 6, "pad_token_id": 0},
    "falcon": {"model_type": "falcon", **ATTENTION, "new_decoder_architecture": True, "num_kv_heads": 2},
    "gptj": {"model_type": "gptj", "n_embd": 32, "n_layer": 2, "n_head": 4, "rotary_dim": 4, "n_positions": 128},
    "granite": {"model_type": "granite", **MODERN, **STRANGE_SCALES},
    "cohere": {"model_type": "cohere", **MODERN, "logit_scale": 0.3},
    "cohere2": {"model_type": "cohere2", **MODERN, "logit_scale": 0.3, "sliding_window": 6},
    "stablelm": {"model_type": "stablelm", **MODERN},
    "smollm3": {"model_type": "smollm3", **MODERN, "pad_token_id": 0},
    "starcoder2": {"model_type": "starcoder2", **MODERN, "sliding_window": 6},
    "olmo2": {"model_type": "olmo2", **MODERN},
    "bloom": {"model_type": "bloom", "hidden_size": 32, "n_layer": 2, "n_head": 4},
    "gpt_neo": {
        "model_type": "gpt_neo",
        "hidden_size": 32,
        "num_layers": 2,
        "num_heads": 4,
        "attention_types": [[["global", "local"], 1]],
    },
    "mixtral": {"model_type": "mixtral", **MODERN, "num_local_experts": 4, "sliding_window": 6},
    # One layer attends within chunks, the other to everything and without positions.
    "llama4": {
        "model_type": "llama4_text",
        **LLAMA4,
        "no_rope_layers": [1, 0],
        "attention_chunk_size": 6,
        "num_local_experts": 2,
    },
}
# Families that the platform refuses: they infer positions themselves, or keep a state that cannot skip padding.
REFUSED = {
    "mamba": {"model_type": "mamba", "hidden_size": 32, "num_hidden_layers": 2, "state_size": 4},
    "mpt": {"model_type": "mpt", "d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 64},
    "bert": {"model_type": "bert", **ATTENTION, "intermediate_size": 48},
    "recurrent_gemma": {
        "model_type": "recurrent_gemma",
        **ATTENTION,
        "intermediate_size": 48,
        "lru_width": 32,
        "attention_window_size": 6,
    },
    "bamba": {"model_type": "bamba", **MODERN, **MAMBA, "attn_layer_indices": [1]},
    "falcon_h1": {"model_type": "falcon_h1", **MODERN, **MAMBA, "mamba_d_head": 8, "mamba_d_ssm": 32, "head_dim": 8},
    "lfm2": {"model_type": "lfm2", **MODERN, "layer_types": ["conv", "full_attention"]},
    "rwkv": {"model_type": "rwkv", "hidden_size": 32, "num_hidden_layers": 2, "attention_hidden_size": 32},
}


def write_language_model(family: str, folder: Path) -> Path:
    """Write the family's tiny model, with a tokenizer trained on a few lines, into a folder."""
    from transformers import AutoConfig, AutoModelForCausalLM

    folder.mkdir(parents=True, exist_ok=True)
    text = folder / "corpus_of_the_tokenizer.txt"
    text.write_text(TEXT)
    tokenizer = train_tokenizer(TokenizerSettings(str(text), VOCABULARY))
    keys = dict((DRIVEN | REFUSED)[family])
    special = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = AutoConfig.for_model(keys.pop("model_type"), **{"vocab_size": len(tokenizer), **special, **keys})
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    # With the library's initial scale, attention is nearly uniform and would hide a wrong mask.
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.25)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
