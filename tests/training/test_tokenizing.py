"""Codebooks by k-means, exactly resumed, and the spectrogram of codes."""

from functools import partial

import numpy
import pytest
import torch
from sklearn.cluster import MiniBatchKMeans
from tiny_spectron import ragged_batch

from spectron.audio.mel import MelConfig
from spectron.encoders import FrameStackEncoder
from spectron.errors import DataError
from spectron.tokenizers import UnitTokenizer
from spectron.tokenizers.codebooks import write_codebooks
from spectron.training import CodebookModule, CodesToMelModule
from spectron.training.tokenizing import partial_fit
from spectron.vocoders import UnitToMel, VocosSettings
from spectron.weights.exporting import export_parts

MEL = MelConfig(n_mels=8)


def blobs(seed, count=200):
    random = numpy.random.default_rng(seed)
    centres = numpy.array([[0, 0], [10, 0], [0, 10], [10, 10]])
    return (centres[random.integers(0, 4, count)] + random.normal(0, 0.5, (count, 2))).astype(numpy.float32)


def test_fit_from_a_stored_state_is_the_fit_without_a_pause():
    centroids, counts = partial_fit(blobs(0), numpy.zeros((4, 2), numpy.float32), numpy.zeros(4, numpy.float32), 3)
    whole = MiniBatchKMeans(4, init=centroids, n_init=1)
    whole.partial_fit(centroids)
    whole.cluster_centers_, whole._counts = centroids.copy(), counts.copy()
    for seed in (1, 2, 3):
        centroids, counts = partial_fit(blobs(seed), centroids, counts, seed)
        whole.partial_fit(blobs(seed))
    numpy.testing.assert_array_equal(centroids, whole.cluster_centers_)
    assert counts.sum() == 800
    assert sorted(map(tuple, centroids.round().astype(int))) == [(0, 0), (0, 10), (10, 0), (10, 10)]


def codebook_module(size=6, levels=2):
    torch.manual_seed(0)
    return CodebookModule(FrameStackEncoder(stack=2, mel=MEL), size=size, levels=levels)


def test_each_level_explains_more_and_inertia_is_the_squared_distance(monkeypatch):
    module, batch = codebook_module(), ragged_batch()
    monkeypatch.setattr(CodebookModule, "global_step", 0)
    module.train()
    for _ in range(3):
        module.loss_terms(batch)
    module.eval()
    features, books = module.features(batch), module.model.codebooks.codebooks
    left = features
    for book in books:
        left = left - book[torch.cdist(left, book).argmin(1)]
    terms = module.loss_terms(batch)
    assert float(terms["inertia"].mean) == pytest.approx(float(left.square().sum(1).mean()), rel=1e-4)
    first, second = (rest.square().sum() for rest in module.model.codebooks.left(features))
    assert second < first < (features - features.mean(0)).square().sum()


def test_first_batch_of_too_few_frames_is_refused(monkeypatch):
    monkeypatch.setattr(CodebookModule, "global_step", 0)
    with pytest.raises(DataError, match="5000 centroids"):
        codebook_module(size=5000).train().loss_terms(ragged_batch())


def test_exported_codebooks_make_a_tokenizer(tmp_path, monkeypatch):
    monkeypatch.setattr(CodebookModule, "global_step", 0)
    module = codebook_module().train()
    module.loss_terms(ragged_batch())
    spec = {"class_path": "spectron.encoders.FrameStackEncoder", "init_args": {"stack": 2}}
    export_parts(module.model, {"task": "spectron.training.CodebookModule", "model": {"encoder": spec}}, tmp_path)
    units = UnitTokenizer(module.model.encoder, str(tmp_path))
    assert torch.equal(units.codebooks, module.model.codebooks.codebooks)


def test_spectrogram_of_codes_comes_near_the_true_one(tmp_path):
    torch.manual_seed(0)
    books = write_codebooks(torch.randn(1, 8, 16) - 3, tmp_path)
    tokenizer = UnitTokenizer(FrameStackEncoder(stack=2, mel=MEL), str(books))
    size = VocosSettings(width=16, layers=1, feedforward=16)
    module, batch = CodesToMelModule(partial(UnitToMel, mel=MEL, size=size), tokenizer), ragged_batch()
    optimiser = torch.optim.Adam(module.parameters(), 1e-2)
    values = []
    for _ in range(40):
        loss = module.loss_terms(batch)["mel"].mean
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        values.append(float(loss))
    assert values[-1] < 0.5 * values[0]
