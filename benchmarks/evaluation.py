"""Speed of the batched judges compared with the original libraries, in seconds of speech per second.

Run: python -m benchmarks.evaluation <manifest.jsonl> --scorer <folder or name> [--items 64] [--recogniser FOLDER]

- Speaker similarity: ``preprocess_wav`` and ``embed_utterance`` of resemblyzer, one recording at a time, compared with
  ``ResemblyzerEmbedder``.
- Recogniser and text scorer: processor, model and tokenizer of transformers, one recording and one text at a time,
  compared with ``TransformersTranscriber`` and ``TransformersTextScorer``.

Without a folder, the recognisers are written with random weights: a wav2vec 2.0 CTC model with 7 million parameters,
and a Whisper of the size ``tiny``, which generates 64 tokens for each recording. The items are the beginnings of the
recordings, with random lengths from one second to the whole. Both results must agree before a time is printed.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spectron.audio.io import read_audio
from spectron.audio.resampling import resample
from spectron.evaluation.judges import ResemblyzerEmbedder, TransformersTextScorer, TransformersTranscriber
from spectron.evaluation.judges.chunking import TOGETHER_SECONDS, alike

RATE_HZ = 16000
CPU = torch.device("cpu")
LETTERS = ["<pad>", "<s>", "</s>", "<unk>", "|", *"etaonihsrdlucmfwygpbvkxqjz'"]


def items_of(manifest: Path, count: int) -> list[Tensor]:
    """Return beginnings of recordings (S,) at 16 kHz, with lengths from one second to the whole."""
    lines = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]
    draw = torch.Generator().manual_seed(0)
    items = []
    for line in lines[:: max(len(lines) // count, 1)][:count]:
        waveform = resample(*read_audio(manifest.parent / line["audio_filepath"]), RATE_HZ)
        items.append(waveform[: RATE_HZ + int(torch.rand(1, generator=draw) * max(len(waveform) - RATE_HZ, 0))])
    return items


def in_groups(judge: Callable[[list[Tensor]], list[Any]], items: list[Tensor]) -> list[Any]:
    """Return the answers of a judge in the order of the items; they are judged in groups of similar length."""
    answers: list[Any] = [None] * len(items)
    for places in alike([len(item) for item in items], int(TOGETHER_SECONDS * RATE_HZ)):
        for place, found in zip(places, judge([items[place] for place in places]), strict=True):
            answers[place] = found
    return answers


def stock_embeddings(items: list[Tensor]) -> list[Tensor]:
    """Return embeddings of the original pipeline of resemblyzer, one recording at a time."""
    from resemblyzer import VoiceEncoder, preprocess_wav

    encoder = VoiceEncoder("cpu", verbose=False)
    return [
        torch.from_numpy(encoder.embed_utterance(preprocess_wav(item.numpy(), source_sr=RATE_HZ))) for item in items
    ]


def stock_words(folder: str, items: list[Tensor]) -> list[str]:
    """Return transcripts of a recogniser of transformers, one recording at a time."""
    from transformers import AutoConfig, AutoFeatureExtractor, AutoModelForCTC, AutoModelForSpeechSeq2Seq, AutoTokenizer

    extractor, tokenizer = AutoFeatureExtractor.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    writes = AutoConfig.from_pretrained(folder).is_encoder_decoder
    model = (AutoModelForSpeechSeq2Seq if writes else AutoModelForCTC).from_pretrained(folder).eval()
    texts = []
    for item in items:
        inputs = extractor(item.numpy(), sampling_rate=RATE_HZ, return_tensors="pt")
        tokens = (
            model.generate(**inputs, num_beams=1, do_sample=False)[0]
            if writes
            else model(**inputs).logits[0].argmax(-1)
        )
        texts.append(tokenizer.decode(tokens, skip_special_tokens=writes).strip())
    return texts


def stock_likelihoods(folder: str, texts: list[str]) -> list[float]:
    """Return the summed loss of each text in nats, by transformers; long texts are cut into contexts."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder).eval()
    begin = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    room = model.config.max_position_embeddings - 1
    nats = []
    for text in texts:
        tokens = tokenizer(text.strip(), add_special_tokens=False)["input_ids"]
        pieces = [torch.tensor([[begin, *tokens[place : place + room]]]) for place in range(0, len(tokens), room)]
        nats.append(sum(float(model(ids, labels=ids).loss) * (ids.shape[1] - 1) for ids in pieces))
    return nats


def written_recogniser(folder: Path) -> str:
    """Write a CTC recogniser with 7 million random parameters and return its folder."""
    from transformers import Wav2Vec2Config, Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC

    torch.manual_seed(0)
    size = {"hidden_size": 192, "num_hidden_layers": 6, "num_attention_heads": 4, "intermediate_size": 768}
    layout = {
        "conv_dim": (128,) * 7,
        "feat_extract_norm": "layer",
        "do_stable_layer_norm": True,
        "num_conv_pos_embeddings": 32,
    }
    model = Wav2Vec2ForCTC(Wav2Vec2Config(vocab_size=len(LETTERS), pad_token_id=0, **size, **layout))
    model.lm_head.weight.data.mul_(50)  # otherwise it would write a single letter
    model.save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True).save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps({letter: place for place, letter in enumerate(LETTERS)}))
    Wav2Vec2CTCTokenizer(str(folder / "vocab.json")).save_pretrained(folder)
    return str(folder)


def written_whisper(folder: Path) -> str:
    """Write a Whisper of the size ``tiny`` with random weights and return its folder; it generates 64 tokens."""
    from tokenizers import Tokenizer, models
    from transformers import (
        PreTrainedTokenizerFast,
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
    )

    torch.manual_seed(0)
    size = {
        "d_model": 384,
        "encoder_layers": 4,
        "decoder_layers": 4,
        "encoder_attention_heads": 6,
        "decoder_attention_heads": 6,
    }
    control = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1, "decoder_start_token_id": 0}
    config = WhisperConfig(vocab_size=51865, encoder_ffn_dim=1536, decoder_ffn_dim=1536, **size, **control)
    words = ["<begin>", "<end>", *map("".join, product(LETTERS[5:-1], repeat=4))]
    ids = {word: place for place, word in enumerate(words[: config.vocab_size])}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="<end>"))
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<begin>", eos_token="<end>", pad_token="<end>"
    ).save_pretrained(folder)
    model = WhisperForConditionalGeneration(config)
    for parameter in model.parameters():
        parameter.add_(0.02 * torch.randn_like(parameter))
    for layer in model.model.decoder.layers:  # otherwise it would write the same word for any speech
        layer.encoder_attn.out_proj.weight.mul_(10)
        layer.encoder_attn.q_proj.weight.mul_(10)
    model.generation_config.update(suppress_tokens=[0, 1], max_length=65)
    model.save_pretrained(folder)
    WhisperFeatureExtractor().save_pretrained(folder)
    return str(folder)


def timed(
    name: str, stock: Callable[[], list[Any]], ours: Callable[[], list[Any]], seconds: float
) -> tuple[list[Any], list[Any]]:
    """Return the results of both ways; print speeds and ratio from the better of two runs of each."""
    found, best = [], []
    for way in (stock, ours):
        times = []
        for _ in range(2):
            began = time.perf_counter()
            result = way()
            times.append(time.perf_counter() - began)
        found.append(result)
        best.append(min(times))
    cells = (name, f"{seconds / best[0]:.1f}", f"{seconds / best[1]:.1f}", f"{best[0] / best[1]:.2f}")
    print("".join(cell.ljust(40) for cell in cells), flush=True)
    return found[0], found[1]


@torch.inference_mode()
def main() -> None:
    """Judge the items both ways and print the speeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--items", type=int, default=64)
    parser.add_argument("--recogniser")
    parser.add_argument("--scorer", required=True, help="folder or name of a causal LM, such as stories260K/hf")
    arguments = parser.parse_args()
    items = items_of(arguments.manifest, arguments.items)
    seconds = sum(len(item) for item in items) / RATE_HZ
    print(f"{len(items)} items, {seconds:.0f} s of speech, {torch.get_num_threads()} threads")
    print("".join(cell.ljust(40) for cell in ("", "stock, s of speech/s", "in batches, s of speech/s", "ratio")))
    with tempfile.TemporaryDirectory() as folder:
        embedder, scorer = ResemblyzerEmbedder(), TransformersTextScorer(arguments.scorer)
        recognisers = {"recogniser": arguments.recogniser}
        if arguments.recogniser is None:
            recognisers = {
                "CTC recogniser": written_recogniser(Path(folder) / "ctc"),
                "writing recogniser": written_whisper(Path(folder) / "whisper"),
            }
        with embedder.at_work(CPU):

            def voices() -> list[Tensor]:
                return in_groups(lambda some: list(embedder.embed(some, RATE_HZ)), items)

            theirs, ours = timed("speaker similarity", lambda: stock_embeddings(items), voices, seconds)
            torch.testing.assert_close(torch.stack(ours), torch.stack(theirs), atol=1e-4, rtol=1e-4)
        for name, recogniser in recognisers.items():
            transcriber = TransformersTranscriber(recogniser)
            with transcriber.at_work(CPU), scorer.at_work(CPU):
                compare_words(f"{name} and text scorer", transcriber, scorer, items, seconds)


def compare_words(
    name: str, transcriber: TransformersTranscriber, scorer: TransformersTextScorer, items: list[Tensor], seconds: float
) -> None:
    """Compare transcripts and their likelihoods of both ways."""

    def judged() -> list[tuple[str, float]]:
        texts = in_groups(lambda some: transcriber.transcribe(some, RATE_HZ), items)
        return list(zip(texts, (nats for nats, _ in scorer.score(texts)), strict=True))

    def stock() -> list[tuple[str, float]]:
        texts = stock_words(transcriber.source, items)
        return list(zip(texts, stock_likelihoods(scorer.source, texts), strict=True))

    theirs, ours = timed(name, stock, judged, seconds)
    assert [text for text, _ in ours] == [text for text, _ in theirs], "the batched transcripts differ"
    torch.testing.assert_close(
        torch.tensor([nats for _, nats in ours]), torch.tensor([nats for _, nats in theirs]), atol=1e-2, rtol=1e-4
    )


if __name__ == "__main__":
    main()
