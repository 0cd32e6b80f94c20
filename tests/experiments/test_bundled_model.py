"""Spoken answers of the bundled model, transcribed by a recogniser that shares no weights or data with it."""

import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

from spectron.batch import Prompts
from spectron.datamodules.synthetic.voices import UNSEEN_SPEAKERS, Prosody, speak
from spectron.datamodules.synthetic.world import facts, unseen_facts
from spectron.decoding import Decoding
from spectron.evaluation.judges import CTCTranscriber
from spectron.experiment.loading import BUNDLED, load_module

JUDGE = BUNDLED["mini"].parent / "judge_recogniser"


@pytest.fixture(scope="module")
def answers():
    """Return ten facts of the training, the model's answers to unseen speakers, and the transcripts of the answers."""
    spoken = [fact for fact in facts() if fact not in unseen_facts(0.2, 17)][::6][:10]
    asked = [
        speak(fact.question(0), voice, Prosody(165, 50))
        for fact, voice in zip(spoken, 2 * UNSEEN_SPEAKERS, strict=False)
    ]
    lengths = torch.tensor([len(question.waveform) for question in asked])
    waveforms = pad_sequence([question.waveform for question in asked], batch_first=True)
    answer = load_module("mini").model.continue_speech(
        Prompts([fact.entity for fact in spoken], waveforms, lengths), Decoding()
    )
    judge = CTCTranscriber(str(JUDGE), str(JUDGE / "words.txt"))
    judge.load()
    said = [waveform[:length] for waveform, length in zip(answer.waveform, answer.num_samples, strict=True)]
    transcripts = judge.transcribe(said, answer.sample_rate_hz)
    return spoken, answer, transcripts


def test_text_has_question_and_answer(answers):
    spoken, answer, _ = answers
    right = [text == f"{fact.question(0)} | {fact.answer}" for fact, text in zip(spoken, answer.text, strict=True)]
    assert sum(right) >= 9, answer.text


def test_speech_has_the_answer_and_stops(answers):
    spoken, answer, transcripts = answers
    correct = [fact.gold in transcript.split() for fact, transcript in zip(spoken, transcripts, strict=True)]
    assert sum(correct) >= 8, transcripts
    assert bool(answer.stopped.all())
