"""A manifest of noise with word times, and a synthetic corpus, both small."""

import json

import numpy as np
import pytest
import soundfile

from datamodules.synthetic.corpus import write_corpus
from datamodules.synthetic.plan import CorpusSettings


@pytest.fixture
def speech(tmp_path):
    """Returns a function that writes utterances of given seconds as a manifest: a word every half second, split train but the first."""

    def write(seconds, rate=16000, **fields):
        rng = np.random.default_rng(0)
        lines = []
        for index, length in enumerate(seconds):
            file = f"u{index}.flac"
            soundfile.write(tmp_path / file, 0.1 * rng.standard_normal(round(length * rate)), rate)
            words = [[f"W{n}", n / 2, n / 2 + 0.4] for n in range(int(length * 2))]
            line = {"id": f"u{index}", "audio_filepath": file, "text": " ".join(word for word, *_ in words), "words": words}
            lines.append(line | {"duration": length, "speaker": f"s{index % 3}", "split": "train" if index else "dev"} | fields)
        manifest = tmp_path / "manifest.jsonl"
        manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return manifest

    return write


@pytest.fixture(scope="session")
def tiny():
    return CorpusSettings(
        voices=2, carriers=6, dev_carriers=3, judge_carriers=8, wordings_per_voice=1, text_lines=300, judge_text_lines=400
    )


@pytest.fixture(scope="session")
def corpus(tmp_path_factory, tiny):
    """The folder of a synthetic corpus with few carriers."""
    folder = tmp_path_factory.mktemp("synthetic") / "corpus"
    write_corpus(folder, tiny, workers=2)
    return folder
