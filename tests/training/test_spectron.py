"""Training steps of all tasks: summed and weighted losses, values that are not finite, empty batches, frozen parts."""

import pytest
import torch
from lightning import Callback, Trainer
from tiny_spectron import VOCODER, ragged_batch, tiny_model
from torch.utils.data import DataLoader

from spectron.batch import SpeechBatch
from spectron.encoders import FrameStackEncoder
from spectron.errors import TrainingError
from spectron.losses import ALIGNMENT_LOSSES
from spectron.training.checkpoint_io import AtomicCheckpointIO
from spectron.training.checkpoints import Checkpoints, CheckpointSettings
from spectron.training.ctc import CTCModule
from spectron.training.optimisation import Optimisation
from spectron.training.spectron import LossWeights, SpectronModule
from spectron.weights.checkpoint_files import read_checkpoint


def batch(name: str, seconds: float = 0.5, rows: int = 2) -> SpeechBatch:
    generator = torch.Generator().manual_seed(len(name))
    samples = round(seconds * 16000)
    lengths = torch.full((rows,), samples)
    speech = torch.randn(rows, samples, generator=generator) * 0.1
    texts = ["a b", "ab"][:rows]
    return SpeechBatch(
        [f"{name}{i}" for i in range(rows)], speech, lengths, texts, torch.zeros(rows, 0), lengths * 0, [""] * rows
    )


def loader(batches: list[SpeechBatch]) -> DataLoader:
    return DataLoader(batches, batch_size=None, collate_fn=lambda item: item)


def module(**optimisation) -> CTCModule:
    torch.manual_seed(0)
    return CTCModule(
        FrameStackEncoder(8), " ab", Optimisation(**{"peak_learning_rate": 1e-2, "warmup_steps": 1} | optimisation)
    )


def trainer(folder, *callbacks, **settings) -> Trainer:
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    settings |= {
        "accelerator": "cpu",
        "default_root_dir": folder,
        "callbacks": list(callbacks),
        "plugins": [AtomicCheckpointIO()],
    }
    return Trainer(**quiet, **settings)


class Modes(Callback):
    """Callback that notes which parts are in training mode at the start of each batch."""

    def __init__(self):
        self.seen = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.seen.append((pl_module.model.encoder.training, pl_module.model.output.training))


def test_frozen_parts_in_eval_from_first_batch(tmp_path):
    net, modes = module(freeze=["encoder.*"]), Modes()
    before = [parameter.detach().clone() for parameter in net.model.encoder.parameters()]
    settings = {"max_steps": 3, "val_check_interval": 1, "num_sanity_val_steps": 1}
    trainer(tmp_path, modes, **settings).fit(
        net, loader([batch("one"), batch("three"), batch("four")]), loader([batch("five")])
    )
    assert modes.seen == [(False, True)] * 3
    assert all(torch.equal(old, new) for old, new in zip(before, net.model.encoder.parameters(), strict=True))


def test_nan_loss_stops_and_keeps_checkpoint(tmp_path):
    bad = batch("bad")
    bad.prompt[:] = torch.nan
    checkpoints = Checkpoints(CheckpointSettings(every_n_steps=1), folder=tmp_path)
    with pytest.raises(
        TrainingError, match=r"the loss is nan at step 2, batch: bad0, bad1\. The last checkpoint is good"
    ):
        trainer(tmp_path, checkpoints, max_steps=5).fit(
            module(), loader([batch("one"), batch("three"), bad, batch("four")])
        )
    saved = read_checkpoint(tmp_path / "last.ckpt")
    assert saved["global_step"] == 2
    assert all(torch.isfinite(value).all() for value in saved["state_dict"].values())


@pytest.mark.parametrize(("rate", "warned"), [(1e-3, False), (1e6, True)])
def test_diverged_training_is_reported(tmp_path, rate, warned, recwarn):
    net = module(peak_learning_rate=rate)
    trainer(tmp_path, max_steps=4).fit(net, loader([batch("one"), batch("three"), batch("four")] * 2))
    assert any("training diverged" in str(warning.message) for warning in recwarn) == warned


def test_first_loss_survives_resume(tmp_path):
    net, other, checkpoint = module(), module(), {}
    trainer(tmp_path, max_steps=1).fit(net, loader([batch("one")]))
    net.on_save_checkpoint(checkpoint)
    other.on_load_checkpoint(checkpoint)
    assert float(other.first_loss) == float(net.first_loss) == checkpoint["first_loss"]


def test_infinite_gradient_stops(tmp_path):
    net = module()
    net.model.output.weight.register_hook(lambda gradient: gradient * torch.inf)
    before = net.model.output.weight.detach().clone()
    with pytest.raises(TrainingError, match=r"the gradient norm is (inf|nan) at step 0"):
        trainer(tmp_path, max_steps=2).fit(net, loader([batch("one"), batch("two")]))
    assert torch.equal(net.model.output.weight, before)


def test_empty_batch_moves_no_weight(tmp_path):
    empty = SpeechBatch([], torch.zeros(0, 0), torch.zeros(0), [], torch.zeros(0, 0), torch.zeros(0), [])
    net, same = module(weight_decay=0.1), module(weight_decay=0.1)
    trainer(tmp_path, max_epochs=1).fit(net, loader([empty, empty]))
    assert all(torch.equal(value, same.model.state_dict()[name]) for name, value in net.model.state_dict().items())
    trainer(tmp_path, max_epochs=1).fit(net, loader([empty, batch("one")]))
    assert not torch.equal(net.model.output.weight, same.model.output.weight)


def test_validation_loss_divides_sums_once(tmp_path):
    """The loss is the mean over characters of batches of different size, not the mean of batch means."""
    net, batches = module(), [batch("one"), batch("three", seconds=1.0, rows=1)]
    run = trainer(tmp_path)
    (measured,) = run.validate(net, loader(batches), verbose=False)
    net.eval()
    with torch.no_grad():
        terms = [net.loss_terms(item)["ctc"] for item in batches]
    total, count = sum(float(t.total) for t in terms), sum(int(t.count) for t in terms)
    assert count == 3 + 2 + 3
    assert measured["val/ctc"] == pytest.approx(total / count, rel=1e-5)
    assert measured["val/ctc"] != pytest.approx(sum(float(t.mean) for t in terms) / 2, rel=1e-3)


def test_frozen_parts_keep_weights_and_eval(tmp_path):
    net = module(freeze=["encoder.*"])
    before = {name: value.clone() for name, value in net.model.state_dict().items()}
    modes = []
    net.model.encoder.register_forward_pre_hook(lambda encoder, _: modes.append(encoder.training))
    trainer(tmp_path, max_steps=2).fit(net.train(), loader([batch("one"), batch("two")]))
    assert modes == [False, False]
    moved = {
        name.split(".")[0] for name, value in net.model.state_dict().items() if not torch.equal(value, before[name])
    }
    assert moved == {"output"}


@pytest.mark.parametrize("weights", [{}, {"alignment": 0.5}, {"spelling": 0.25}, {"alignment": 0.5, "spelling": 0.25}])
def test_alignment_losses_weighted_and_skipped_at_zero(weights, tmp_path):
    model = tiny_model(tmp_path)
    parts = {"encoder": model.encoder, "language_model": model.language_model, "vocoder": VOCODER}
    weighed = LossWeights(text=2.0, speech=0.3, **weights)
    net = SpectronModule(loss_weights=weighed, head=lambda hidden_size: model.head, **parts)
    with torch.no_grad():
        means = {name: float(term.mean) for name, term in net.loss_terms(ragged_batch()).items()}
        total = float(net.total({name: torch.tensor(value) for name, value in means.items()}))
    assert means.keys() & ALIGNMENT_LOSSES.keys() == weights.keys()
    assert total == pytest.approx(
        2.0 * means["text"] + 0.3 * means["speech"] + sum(w * means[what] for what, w in weights.items())
    )
    assert all(means[what] > 0 for what in weights)
