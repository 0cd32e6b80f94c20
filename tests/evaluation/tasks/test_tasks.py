"""Tasks on a tiny Spectron, compared with slow reference code: pairs, toplines, baselines, stored speech."""

import json

import pytest
import torch
from lightning import LightningDataModule

from spectron.audio.io import read_audio, to_16_bits, write_wav
from spectron.audio.mel import MelConfig
from spectron.batch import Prompts, SpeechBatch
from spectron.datamodules import PairsDataModule
from spectron.decoding import Decoding
from spectron.encoders import FrameStackEncoder
from spectron.errors import ConfigError, DataError
from spectron.evaluation.judges import Judges
from spectron.evaluation.metrics import TeacherForcedMelError
from spectron.evaluation.systems.baselines import shuffled_answers, silent_answers
from spectron.evaluation.systems.text_topline import TextTopline
from spectron.evaluation.tasks import Bench, Continuation, LikelihoodPairs, SpokenQuestions
from spectron.evaluation.tasks.likelihood import part_of, tie_of
from spectron.evaluation.tasks.speaking import require_batch_fits_context
from spectron.generation import DecodingState
from spectron.heads import MelRegressionHead
from spectron.language_models import CausalLanguageModel, TokenizerSettings
from spectron.model import SpectronModel
from spectron.segments import SequenceSettings
from spectron.vocoders import GriffinLimVocoder

LLAMA = {
    "model_type": "llama",
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}
MEL = MelConfig(n_mels=20)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    """An untrained Spectron; large weights make its outputs depend on its inputs."""
    torch.manual_seed(0)
    text = tmp_path_factory.mktemp("text") / "text.txt"
    text.write_text("the cat sat on the mat and the dog ran to the cow\n" * 20)
    lm = CausalLanguageModel(config=dict(LLAMA), tokenizer=TokenizerSettings(str(text), 300))
    model = SpectronModel(
        FrameStackEncoder(8, mel=MEL),
        lm,
        lambda width: MelRegressionHead(width, MEL, frames_per_step=2, post_net_width=8),
        lambda mel: GriffinLimVocoder(mel, iterations=2),
        sequence=SequenceSettings(text_separator=" | "),
    )
    with torch.no_grad():
        for parameter in lm.parameters():
            parameter.mul_(3)
    return model.eval()


def noise(seconds: float, seed: int) -> torch.Tensor:
    return 0.1 * torch.randn(round(16000 * seconds), generator=torch.Generator().manual_seed(seed))


def batch(speakers: list[str], ids: list[str]) -> SpeechBatch:
    rows = len(ids)
    return SpeechBatch(
        ids=ids,
        prompt=torch.stack([noise(0.5, row) for row in range(rows)]),
        prompt_num_samples=torch.full((rows,), 8000),
        prompt_text=["the cat"] * rows,
        continuation=torch.stack([noise(0.5, 10 + row) for row in range(rows)]),
        continuation_num_samples=torch.tensor([8000 - 1000 * row for row in range(rows)]),
        continuation_text=[f"sat {name}" for name in ids],
        speakers=speakers,
    )


@pytest.fixture
def pairs(tmp_path):
    """Three pairs: with a shared beginning, without one, and with unknown words."""
    lines = []
    for number, (context, words) in enumerate([(0.4, "the cat ran"), (0.0, "the dog ran"), (0.0, None)]):
        for side, seed in (("positive", 2 * number), ("negative", 2 * number + 1)):
            shared = noise(context, 50 + number)
            write_wav(tmp_path / f"{number}-{side}.wav", torch.cat([shared, noise(0.6 + 0.1 * seed, seed)]), 16000)
        lines.append(
            {
                "id": f"pair-{number}",
                "group": "noise" if number else "shared",
                **{f"{side}_audio_filepath": f"{number}-{side}.wav" for side in ("positive", "negative")},
                "positive_text": words,
                "negative_text": words and words.replace("ran", "sat"),
                "context_seconds": context,
            }
        )
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


def slow_scores(system, path, context: float, text: str) -> tuple[float, float]:
    """Return text and spectrogram score of one recording, computed in a batch of one."""
    waveform, _ = read_audio(path)
    cut = round(16000 * context) or len(waveform) // 2

    def row(prompt, continuation, texts):
        lengths = torch.tensor([len(prompt)]), torch.tensor([len(continuation)])
        return SpeechBatch(["x"], prompt[None], lengths[0], [texts[0]], continuation[None], lengths[1], [texts[1]])

    with torch.inference_mode():
        heard = system.losses(system(row(waveform, waveform[:0], (text, ""))))["text"]
        speech = system(row(waveform[:cut], waveform[cut:], ("", text)))
        followed = system.losses(speech)["speech"].total / speech.stretches["speech"].targets.num_frames[0]
    return -float(heard.total / heard.count), -float(followed)


def test_pair_scores_equal_scores_of_single_recordings(system, pairs):
    task = LikelihoodPairs(PairsDataModule(str(pairs / "pairs.jsonl")))
    bench = Bench(system, Judges(), CPU)
    task.prepare(bench)
    assert task.systems(bench) == ["model"]
    records = {record.id: record for place in range(len(task.batches)) for record in task.judge("model", place, bench)}
    assert sorted(records) == ["pair-0", "pair-1", "pair-2"]
    for number, context, text in ((0, 0.4, "the cat ran"), (1, 0.0, "the dog ran"), (2, 0.0, "")):
        right = slow_scores(system, pairs / f"{number}-positive.wav", context, text)
        wrong = slow_scores(system, pairs / f"{number}-negative.wav", context, text.replace("ran", "sat"))
        found = records[f"pair-{number}"]
        scores = found.facts["scores"]
        assert scores["spectrogram_positive"] == pytest.approx(right[1], rel=1e-4)
        assert scores["spectrogram_negative"] == pytest.approx(wrong[1], rel=1e-4)
        assert found.parts["pair_accuracy_spectrogram"] == (float(right[1] > wrong[1]), 1.0)
        assert found.split == ("noise" if number else "shared")
        if text:
            assert (scores["text_positive"], scores["text_negative"]) == (
                pytest.approx(right[0], rel=1e-4),
                pytest.approx(wrong[0], rel=1e-4),
            )
            assert found.parts["pair_accuracy_text"] == (float(right[0] > wrong[0]), 1.0)
        else:
            assert (scores["text_positive"], found.parts["pair_accuracy_text"]) == (None, None)
    alone = task.judge("model", 0, bench, rows=[1])
    assert alone[0].facts["scores"]["spectrogram_positive"] == pytest.approx(
        records[alone[0].id].facts["scores"]["spectrogram_positive"], rel=1e-4
    )


@pytest.mark.parametrize(
    ("scores", "accuracy", "tie"),
    [
        ((2.0, 1.0), (1.0, 1.0), (0.0, 1.0)),
        ((1.0, 2.0), (0.0, 1.0), (0.0, 1.0)),
        ((1.0, 1.0), (0.5, 1.0), (1.0, 1.0)),
        ((float("nan"), 1.0), None, None),
        ((1.0, float("nan")), None, None),
    ],
)
def test_tie_counts_half_and_missing_score_nothing(scores, accuracy, tie):
    assert (part_of(scores), tie_of(scores)) == (accuracy, tie)


def test_likelihood_pairs_refuse_system_without_scores(pairs):
    class Mute:
        prompt_rate_hz = speech_rate_hz = 16000

    task = LikelihoodPairs(PairsDataModule(str(pairs / "pairs.jsonl")))
    with pytest.raises(ConfigError, match="Mute has no likelihoods: define `score_speech`"):
        task.prepare(Bench(Mute(), Judges(), CPU))


def slow_answer(system, question: str, tokens: int) -> list[int]:
    """Return greedy tokens after a text; the whole sequence is read again for every token."""
    lm = system.language_model
    ids, count = lm.tokenize([question])
    sequence = [lm.sos_id, *ids[0, : int(count)].tolist()]
    written = []
    for _ in range(tokens):
        state = DecodingState(lm, 1, CPU)
        inputs = torch.tensor([sequence])
        token = int(
            lm.logits(state.extend(lm.embed(inputs), torch.ones_like(inputs, dtype=torch.bool))[0, -1]).argmax()
        )
        if token == lm.eos_id:
            break
        written.append(token)
        sequence.append(token)
    return written


def test_text_topline_equals_slow_greedy_decoding(system):
    questions = {"a": "the cat sat on", "b": "the dog", "c": "the cow ran to the mat and the"}
    prompts = Prompts(list(questions), torch.zeros(3, 8000), torch.full((3,), 8000))
    answered = TextTopline(system, questions).continue_speech(prompts, Decoding(max_text_tokens=6))
    with torch.inference_mode():
        expected = [slow_answer(system, f"{question} |", 6) for question in questions.values()]
    assert answered.continuation_text == [text.strip() for text in system.language_model.detokenize(expected)]
    assert len(set(answered.continuation_text)) > 1, "answers depend on the questions"
    assert answered.transcript == list(questions.values())
    assert answered.waveform.shape == (3, 0)
    assert answered.text_stopped.tolist() == [len(tokens) < 6 for tokens in expected]


class OneBatch(LightningDataModule):
    def item_batches(self, num_items):
        return [batch(["s", "t"], ["a", "b"])]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, ["recording", "vocoded", "silence", "shuffled", "written_question"]),
        ({"baselines": []}, []),
        ({"baselines": ["cascade", "written_question", "silence"]}, ["silence", "written_question"]),
    ],
)
def test_systems_are_model_and_possible_baselines(arguments, expected, system):
    """There is no cascade without a transcriber, and no topline for a continuation."""
    bench = Bench(system, Judges(), CPU)
    assert SpokenQuestions(OneBatch(), **arguments).systems(bench) == ["model", *expected]
    without_toplines = [name for name in expected if "_" not in name]
    assert Continuation(OneBatch(), **arguments).systems(bench) == ["model", *without_toplines]


@pytest.mark.parametrize(("text", "counted"), [("trained", True), ("given", True), ("empty", False), ("filler", False)])
def test_teacher_forcing_skipped_for_other_text(text, counted, system):
    def teacher_forced(batch):
        mel, num_frames = system.head.log_mel(batch.continuation, batch.continuation_num_samples)
        return mel + 1.0, num_frames

    task = SpokenQuestions(
        OneBatch(), Decoding(max_text_tokens=3, max_seconds=0.2, text=text), [TeacherForcedMelError()]
    )
    bench = Bench(system, Judges(), CPU, teacher_forced)
    task.batches = task.data.item_batches(None)
    parts = [record.parts["mel_l1_teacher_forced"] for record in task.judge("model", 0, bench)]
    assert [part is not None for part in parts] == [counted] * 2


def test_shuffled_answers_prefer_another_speaker():
    first, second = batch(["s", "s"], ["a", "b"]), batch(["s", "t"], ["c", "d"])
    answers = shuffled_answers(first, second)
    assert {name: answer.text for name, answer in answers.items()} == {"a": "sat d", "b": "sat d"}
    assert len(answers["a"].waveform) == 7000
    # No row gets its own recording. With a single speaker, another recording of that speaker is used.
    answers = shuffled_answers(first, first)
    assert {name: answer.text for name, answer in answers.items()} == {"a": "sat b", "b": "sat a"}
    assert shuffled_answers(batch(["s"], ["a"]), batch(["s"], ["a"])) == {}
    silent = silent_answers(first)["b"]
    assert (len(silent.waveform), float(silent.waveform.abs().sum()), silent.text) == (7000, 0.0, "")


def test_to_16_bits_equals_stored_wav(tmp_path):
    waveform = torch.cat([torch.linspace(-1.2, 1.2, 999), noise(0.1, 1)])
    rounded = to_16_bits(waveform)
    write_wav(tmp_path / "a.wav", waveform, 16000)
    assert torch.equal(read_audio(tmp_path / "a.wav")[0], rounded)
    assert torch.equal(to_16_bits(rounded), rounded)
    assert float((rounded - waveform.clamp(-1, 1)).abs().max()) < 1 / 32768 + 1e-7


def test_item_longer_than_context_is_data_error(system):
    some = batch(["s", "t"], ["a", "b"])
    require_batch_fits_context(system, some, Decoding(max_seconds=5.0))
    with pytest.raises(DataError, match=r"needs \d+ positions .*text 65, .* has 2048\. Lower max_text_tokens"):
        require_batch_fits_context(system, some, Decoding(max_seconds=60.0))
