"""A tiny Spectron with random weights, and a batch whose rows have different lengths."""

from functools import partial

import torch

from spectron.audio.mel import MelConfig
from spectron.batch import SpeechBatch, Word
from spectron.encoders import ConformerEncoder, ConformerSettings
from spectron.heads import MelRegressionHead, PreNetSettings
from spectron.language_models import CausalLanguageModel, TokenizerSettings
from spectron.model import SpectronModel
from spectron.segments import SequenceSettings
from spectron.vocoders import GriffinLimVocoder

FAMILIES = {
    "llama": {
        "model_type": "llama",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    },
    "gpt2": {"model_type": "gpt2", "n_embd": 32, "n_layer": 2, "n_head": 2},
    "opt": {
        "model_type": "opt",
        "hidden_size": 32,
        "word_embed_proj_dim": 32,
        "ffn_dim": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    },
}


VOCODER = partial(GriffinLimVocoder, iterations=2)


CONFORMER = partial(ConformerEncoder, ConformerSettings(width=32, layers=2, heads=2, feedforward=64, kernel=5))
MEL_HEAD = partial(
    MelRegressionHead, mel=MelConfig(n_mels=20), frames_per_step=4, pre_net=PreNetSettings(bottleneck=16)
)


def tiny_model(
    folder,
    family="llama",
    mark=" | ",
    attention="bidirectional",
    vocoder=VOCODER,
    scheduled_sampling=0.0,
    head=MEL_HEAD,
    sequence=None,
    encoder=CONFORMER,
    **lm,
):
    """Build a tiny model of a language model family; ``lm`` changes keys of the family's configuration."""
    text = folder / "text.txt"
    text.write_text("what is the capital of france\nthe capital of france is paris\n")
    torch.manual_seed(4)
    settings = {"prompt_attention": attention, "text_separator": mark, "scheduled_sampling": scheduled_sampling}
    return SpectronModel(
        encoder and encoder(),
        CausalLanguageModel(config={**FAMILIES[family], **lm}, tokenizer=TokenizerSettings(str(text), 300)),
        head,
        vocoder,
        sequence or SequenceSettings(**settings),
    ).eval()


def with_head(model, head):
    """Give a model another speech head, and return the model."""
    model.head = model.parts.head = head
    return model


def ragged_batch() -> SpeechBatch:
    """Return three rows of different lengths, one of them without continuation."""
    torch.manual_seed(5)
    return SpeechBatch(
        ids=["a", "b", "c"],
        prompt=torch.randn(3, 16000) * 0.1,
        prompt_num_samples=torch.tensor([16000, 9011, 4777]),
        prompt_text=["what is the capital", "paris", "is"],
        continuation=torch.randn(3, 12000) * 0.1,
        continuation_num_samples=torch.tensor([12000, 6500, 0]),
        continuation_text=["of france is paris", "", "is is is"],
        continuation_words=[
            [Word("of", 0.05, 0.2), Word("france", 0.2, 0.5), Word("is", 0.5, 0.55), Word("paris", 0.6, 0.75)],
            [],
            [],
        ],
    )


def row(batch: SpeechBatch, i: int) -> SpeechBatch:
    """Return one row of a batch as a batch without padding."""
    prompt, speech = int(batch.prompt_num_samples[i]), int(batch.continuation_num_samples[i])
    return SpeechBatch(
        ids=[batch.ids[i]],
        prompt=batch.prompt[i : i + 1, :prompt],
        prompt_num_samples=batch.prompt_num_samples[i : i + 1],
        prompt_text=[batch.prompt_text[i]],
        continuation=batch.continuation[i : i + 1, :speech],
        continuation_num_samples=batch.continuation_num_samples[i : i + 1],
        continuation_text=[batch.continuation_text[i]],
        continuation_words=[batch.continuation_words[i]],
    )
