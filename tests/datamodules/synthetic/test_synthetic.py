"""Synthetic world, its voices and its corpus."""

import json
import time
from collections import Counter
from dataclasses import replace
from itertools import islice

import pytest
import soundfile
import torch

from spectron.datamodules.synthetic.corpus import write_corpus
from spectron.datamodules.synthetic.corpus_plan import CorpusSettings, plan_corpus
from spectron.datamodules.synthetic.voices import (
    JUDGE_VOICES,
    TRAINING_VOICES,
    UNSEEN_SPEAKERS,
    Prosody,
    Voice,
    speak,
    word_times,
)
from spectron.datamodules.synthetic.world import (
    KINDS,
    carriers,
    facts,
    mismatches,
    negated_carriers,
    slots,
    states_a_fact,
    unseen_facts,
    vocabulary,
    word_lists,
)
from spectron.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def plan():
    return plan_corpus(CorpusSettings())


def test_world_large_and_unambiguous():
    assert len(facts()) >= 60
    assert len(KINDS) >= 3
    entities = Counter(fact.entity for fact in facts())
    assert max(entities.values()) == 1
    assert all(word.isalpha() and word.islower() and word.isascii() for word in vocabulary())
    for fact in facts():
        questions = [fact.question(wording) for wording in range(len(KINDS[fact.kind].questions))]
        assert len(set(questions)) >= 4
        assert fact.gold in fact.answer.split()
        assert fact.answer.split().count(fact.gold) == 1


def test_every_word_in_many_carriers(plan):
    heard = Counter(word for split, u in plan.carriers if split == "train" for word in set(u.text.split()))
    assert min(heard[word] for word in vocabulary()) >= 20


def test_carriers_distinct_without_facts():
    sentences = list(islice(carriers(3), 3000))
    assert len(set(sentences)) == 3000
    assert not any(states_a_fact(sentence) for sentence in sentences)
    asked = {fact.question(wording) for fact in facts() for wording in range(len(KINDS[fact.kind].questions))}
    assert not asked & set(sentences)
    assert states_a_fact("anna saw the cow and it said moo")
    known = {word for words in slots().values() for word in words}
    assert {fact.gold for fact in facts()} <= known


def test_every_entity_in_question_words():
    """Held-out ones too: a model that knew the trained questions alone would take an unseen one for its nearest."""
    sentences = list(islice(carriers(17), 12000))
    for fact in facts():
        for wording in KINDS[fact.kind].trained_wordings:
            assert sum(fact.question(wording) in sentence for sentence in sentences) >= 4, fact.question(wording)
        assert not any(fact.question(KINDS[fact.kind].unseen_wording) in sentence for sentence in sentences)


def test_mismatches_are_wrong_answers():
    right = {fact.answer for fact in facts()}
    wrong = mismatches(0)
    assert len(wrong) == len(set(wrong)) > 1000
    assert not right & set(wrong)


def test_other_voices_ask_all_facts(plan):
    with_others = plan_corpus(CorpusSettings(other_voices=["en-us+travis", "en-gb-scotland+Lee"]))
    others = [question for question in with_others.questions if question.split.startswith("other_voices")]
    assert [question for question in with_others.questions if question not in others] == plan.questions
    assert with_others.carriers == plan.carriers
    held = unseen_facts(0.2, 17)
    for name in ("en-us-travis", "en-gb-scotland-lee"):
        asked = Counter(
            (question.split, question.answered.text) for question in others if question.asked.voice.name == name
        )
        assert asked == {
            ("other_voices_facts" if fact in held else "other_voices", fact.answer): len(
                KINDS[fact.kind].trained_wordings
            )
            ** (fact in held)
            for fact in facts()
        }
    assert len({question.asked.id for question in others}) == len(others)
    with pytest.raises(ConfigError, match="en-us-f1 is no other voice: the world has it already") as raised:
        CorpusSettings(other_voices=["en-us+travis", "en-us+f1"])
    assert raised.value.key == "other_voices"
    with pytest.raises(DataError, match="no voice 'travis': name an accent and a variant"):
        plan_corpus(CorpusSettings(other_voices=["travis"]))


def test_negated_carriers_contain_answers_not_facts(plan):
    said = negated_carriers(17)
    assert len(said) == len(set(said)) > 2000
    assert not any(states_a_fact(sentence) for sentence in said)
    assert all(
        word in vocabulary() | set(slots()["person"]) | {"not", "that"}
        for sentence in said
        for word in sentence.split()
    )
    for fact in facts():
        beginning = fact.answer.rpartition(" ")[0]
        assert sum(f"{beginning} " in sentence for sentence in said) >= 10, beginning
        assert sum(sentence.endswith(f" {fact.gold}") for sentence in said) >= 10, fact.gold
    denied = plan_corpus(CorpusSettings(negated_carriers=30))
    added = [u for split, u in denied.carriers if u.text in said[:30] and split == "train"]
    assert len(added) == 30
    assert [one for one in denied.carriers if one[1] not in added] == plan.carriers, "all else stays as it is"
    assert (denied.questions, denied.texts) == (plan.questions, plan.texts)
    twice = [
        u
        for split, u in plan_corpus(CorpusSettings(negated_carriers=len(said) + 20)).carriers
        if u.id.startswith("denial-")
    ]
    again = twice[len(said) :]
    assert [u.text for u in again] == said[:20], "what there is comes again"
    assert all(u.voice != first.voice for u, first in zip(again, twice, strict=False)), "by other voices"


def test_word_lists_balanced_without_facts(plan):
    rows = [row.split() for row in islice(word_lists(17), 2000)]
    answers = {fact.gold for fact in facts()}
    assert len({tuple(row) for row in rows}) == 2000
    assert {len(row) for row in rows} == {6}
    assert all(sum(word in answers for word in row) == 3 for row in rows)
    assert not any(states_a_fact(" ".join(row)) for row in rows)
    said = Counter(word for row in rows for word in row)
    assert said.keys() == vocabulary()
    for words in (answers, vocabulary() - answers):
        assert max(said[word] for word in words) <= 1.3 * min(said[word] for word in words)
    places = Counter(place for row in rows for place, word in enumerate(row) if word in answers)
    assert max(places.values()) <= 1.1 * min(places.values()), "answers stand anywhere"
    listed = plan_corpus(CorpusSettings(word_lists=30))
    added = [u for split, u in listed.carriers if u.id.startswith("list-") and split == "train"]
    assert [u.text for u in added] == [" ".join(row) for row in rows[:30]]
    assert [one for one in listed.carriers if one[1] not in added] == plan.carriers, "all else stays as it is"
    assert (listed.questions, listed.texts) == (plan.questions, plan.texts)


def test_small_corpus_has_every_kind():
    plan = plan_corpus(
        CorpusSettings(
            carriers=20, dev_carriers=4, judge_carriers=10, judge_text_lines=10, text_lines=10, wordings_per_voice=99
        )
    )
    assert [len(plan.texts[split]) for split in ("judge_train", "judge_dev")] == [5, 5]
    trained = [question for question in plan.questions if question.split == "train"]
    assert len(trained) == len(
        [q for q in plan_corpus(CorpusSettings(wordings_per_voice=0)).questions if q.split == "train"]
    )


def test_splits_hold_out_facts_and_wordings(plan):
    by_split = {split: [q for q in plan.questions if q.split == split] for split in {q.split for q in plan.questions}}
    trained = {q.answered.text for q in by_split["train"]}
    trained_questions = {q.asked.text for q in by_split["train"]}
    voices = {q.asked.voice for q in by_split["train"]}
    assert len(voices) >= 8
    assert {q.asked.voice for q in by_split["unseen_speakers"]} == set(UNSEEN_SPEAKERS)
    assert {q.asked.text for q in by_split["unseen_speakers"]} <= trained_questions
    assert not {q.asked.text for q in by_split["unseen_wordings"]} & trained_questions
    assert {q.answered.text for q in by_split["unseen_wordings"]} == trained
    hidden = {q.answered.text for q in by_split["unseen_facts"]}
    assert not hidden & trained
    assert len(hidden) + len(trained) == len(facts())
    assert 0.15 < len(hidden) / len(facts()) < 0.25
    assert {fact.answer for fact in unseen_facts(0.2, 17)} == hidden
    assert all(sum(answer in line for line in plan.texts["train"]) > 20 for answer in hidden)  # known from text


def test_split_voices_and_sentences_disjoint(plan):
    for one, other in (
        (TRAINING_VOICES, UNSEEN_SPEAKERS),
        (TRAINING_VOICES, JUDGE_VOICES),
        (UNSEEN_SPEAKERS, JUDGE_VOICES),
    ):
        assert not {voice.variant for voice in one} & {voice.variant for voice in other}
    assert len(JUDGE_VOICES) >= 6
    used = {
        split: {u.voice for s, u in plan.carriers if s == split}
        for split in ("train", "dev", "judge_train", "judge_dev")
    }
    assert used["train"] == set(TRAINING_VOICES)
    assert used["dev"] == set(UNSEEN_SPEAKERS)
    assert used["judge_train"] == used["judge_dev"] == set(JUDGE_VOICES)
    texts = [u.text for _, u in plan.carriers]
    assert len(texts) == len(set(texts))
    judged = [u.text for split, u in plan.carriers if split == "judge_train"]
    assert not any(fact.answer in judged for fact in facts())


def test_joined_words_share_time():
    times = word_times("in the garden", {0: 0.1, 7: 0.6}, 1.0)
    assert [word for word, *_ in times] == ["in", "the", "garden"]
    assert [time for _, *both in times for time in both] == pytest.approx([0.1, 0.3, 0.3, 0.6, 0.6, 1.0])


@pytest.mark.parametrize("voice", TRAINING_VOICES + UNSEEN_SPEAKERS + JUDGE_VOICES, ids=lambda voice: voice.name)
def test_speech_independent_of_earlier_speech(voice):
    speech = [speak("the cow is in the garden", voice, Prosody(160, 50)) for _ in range(2)]
    speak("something else", TRAINING_VOICES[1], Prosody(190, 60))
    speech.append(speak("the cow is in the garden", voice, Prosody(160, 50)))
    assert torch.equal(speech[0].waveform, speech[1].waveform)
    assert torch.equal(speech[0].waveform, speech[2].waveform)


def test_speech_independent_of_clock():
    breathy = next(voice for voice in TRAINING_VOICES if voice.variant == "f2")
    first = speak("moo", breathy, Prosody(160, 50))
    time.sleep(1.05)  # the synthesizer would take the second of the clock
    assert torch.equal(first.waveform, speak("moo", breathy, Prosody(160, 50)).waveform)


def test_speech_margins_and_word_times():
    first = speak("the cow is in the garden in paris", TRAINING_VOICES[0], Prosody(160, 50))
    seconds = len(first.waveform) / 16000
    margin = round(0.04 * 16000)
    assert first.waveform[:margin].abs().max() < 0.02
    assert first.waveform[-margin:].abs().max() < 0.02
    assert first.waveform.abs().max() == pytest.approx(0.7, abs=1e-4)
    assert first.words[0][1] == pytest.approx(0.05, abs=0.002)
    assert first.words[-1][2] == pytest.approx(seconds - 0.05, abs=0.002)
    assert [word for word, *_ in first.words] == ["the", "cow", "is", "in", "the", "garden", "in", "paris"]
    assert all(a[2] == b[1] and a[1] < a[2] for a, b in zip(first.words, first.words[1:], strict=False))


def test_word_times_match_audio():
    """A comma leaves a silence: the next word begins where it ends."""
    speech = speak("paris, moo", TRAINING_VOICES[0], Prosody(150, 50))
    quiet = speech.waveform.abs().unfold(0, 160, 160).amax(1) < 0.01
    silence = [index / 100 for index in range(10, len(quiet) - 10) if quiet[index - 5 : index + 5].all()]
    assert silence
    assert speech.words[1][1] == pytest.approx(silence[-1] + 0.05, abs=0.02)


def test_prosody_changes_rate_and_pitch():
    slow, fast = (speak("the cow is in the garden", TRAINING_VOICES[0], Prosody(rate, 50)) for rate in (140, 200))
    assert len(slow.waveform) > 1.2 * len(fast.waveform)
    low, high = (speak("moo moo", TRAINING_VOICES[0], Prosody(160, pitch)).waveform for pitch in (30, 70))
    assert not torch.equal(low, high)


@pytest.mark.parametrize(
    ("voice", "said"),
    [
        (Voice("en-us", "nobody", "F"), "no variant 'nobody' for a voice en-us-nobody"),
        (Voice("xx-yy", "m3", "M"), "no accent 'xx-yy'"),
    ],
)
def test_unknown_voice_refused(voice, said):
    with pytest.raises(DataError, match=said):
        speak("moo", voice, Prosody(160, 50))


def test_corpus_files(corpus):
    carrier_lines = [json.loads(line) for line in (corpus / "carriers.jsonl").read_text().splitlines()]
    lines = carrier_lines + [json.loads(line) for line in (corpus / "questions.jsonl").read_text().splitlines()]
    assert Counter(line["split"] for line in carrier_lines) == {"train": 6, "dev": 3, "judge_train": 8, "judge_dev": 3}
    for line in lines[::40]:
        info = soundfile.info(corpus / line["audio_filepath"])
        assert (info.samplerate, info.format, info.subtype) == (16000, "FLAC", "PCM_16")
        assert info.frames / 16000 == line["duration"]
        assert line["words"][-1][2] <= line["duration"]
        assert " ".join(word for word, *_ in line["words"]) == line["text"]
    question = lines[-1]
    assert question["answers"][0] in question["answer_text"].split()
    assert " ".join(word for word, *_ in question["answer_words"]) == question["answer_text"]
    assert question["answer_words"][-1][2] <= question["answer_duration"]
    assert soundfile.info(corpus / question["answer_audio_filepath"]).frames / 16000 == question["answer_duration"]
    assert not list(corpus.parent.glob(".*"))


def test_partial_corpus_equals_splits_of_whole(tiny):
    whole, part = plan_corpus(tiny), plan_corpus(replace(tiny, only=["carriers/dev", "questions/unseen_facts"]))
    assert part.carriers == [(split, utterance) for split, utterance in whole.carriers if split == "dev"]
    assert part.questions == [question for question in whole.questions if question.split == "unseen_facts"]
    assert part.texts == whole.texts
    every = [f"carriers/{split}" for split, _ in whole.carriers] + [
        f"questions/{question.split}" for question in whole.questions
    ]
    assert plan_corpus(replace(tiny, only=sorted(set(every)))).fingerprint() == whole.fingerprint()
    with pytest.raises(
        ConfigError, match=r"there is no split carriers/tests\. Valid names: carriers/train, "
    ) as raised:
        replace(tiny, only=["carriers/tests"])
    assert raised.value.key == "only"


def test_equal_settings_equal_bytes(corpus, tiny, tmp_path):
    """Whichever process spoke an utterance, after whatever others."""
    plan = plan_corpus(tiny)
    assert json.loads((corpus / "corpus.json").read_text())["fingerprint"] == plan.fingerprint()
    for utterance in plan.utterances[::23]:
        again = speak(utterance.text, utterance.voice, utterance.prosody)
        soundfile.write(tmp_path / "again.flac", again.waveform.numpy(), 16000, subtype="PCM_16")
        assert (tmp_path / "again.flac").read_bytes() == (corpus / utterance.file).read_bytes()


def test_finished_corpus_kept_other_refused(corpus, tiny, tmp_path):
    before = (corpus / "corpus.json").stat().st_mtime_ns
    write_corpus(corpus, tiny)
    assert (corpus / "corpus.json").stat().st_mtime_ns == before
    with pytest.raises(DataError, match=r"carriers: 6 there, 7 asked for"):
        write_corpus(corpus, replace(tiny, carriers=7))
    with pytest.raises(DataError, match="no finished synthetic corpus"):
        write_corpus(tmp_path, tiny)


def test_interrupted_corpus_leaves_nothing(tiny, tmp_path):
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_corpus(tmp_path / "corpus", tiny, progress=stop, workers=0)
    assert not list(tmp_path.iterdir())
