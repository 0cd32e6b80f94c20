"""Keys of the section ``trainer``: those of Lightning's Trainer that a run can honour, and the ranges of their values.

The training data are one endless stream, which is split among ranks and resumed exactly. Such a stream has no epochs
and no fractions, so a key that counts epochs is fixed; every other key keeps its meaning.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from lightning import Trainer

from spectron.config.checking import ArgumentsOf, Fixed
from spectron.ranges import Count, CountOrZero, NonNegative, Range

# Spectron sets these itself: where a run is stored, and what makes a run resumable.
OWNED = dict.fromkeys(
    (
        "logger",
        "callbacks",
        "fast_dev_run",
        "enable_checkpointing",
        "default_root_dir",
        "plugins",
        "barebones",
        "model_registry",
    ),
    "Spectron sets this itself. Remove the key; see callbacks, checkpoints, tracking",
)

# Validation is counted in batches of the stream.
DEFAULTS = {
    "max_epochs": -1,
    "check_val_every_n_epoch": None,
    "use_distributed_sampler": False,
    "enable_model_summary": False,
}

ENDLESS = "the training data are one endless stream, whose only epoch never ends"
FIXED = {
    "max_epochs": Fixed((-1, None), f"{ENDLESS}. Remove the key, and set trainer.max_steps or trainer.max_time"),
    "min_epochs": Fixed((None,), f"{ENDLESS}: the run would never stop. Remove the key, or set trainer.min_steps"),
    "limit_train_batches": Fixed(
        (None, 1.0),
        "the same few batches would be trained on again and again, and others after a resume. Remove the key; for a "
        "short run set trainer.max_steps, for less data write a manifest with fewer lines",
    ),
    "overfit_batches": Fixed(
        (0.0, 0), "a resumed run would train on other batches. Remove the key, and write a manifest with few lines"
    ),
    "check_val_every_n_epoch": Fixed(
        (None,), f"{ENDLESS}. Remove the key, and set trainer.val_check_interval to a number of batches"
    ),
    "reload_dataloaders_every_n_epochs": Fixed((0,), f"{ENDLESS}, so nothing would be loaded again. Remove the key"),
    "use_distributed_sampler": Fixed((False,), "the data module distributes batches itself. Remove the key"),
    "limit_test_batches": Fixed((None, 1.0), "no verb tests. Remove the key"),
    "limit_predict_batches": Fixed((None, 1.0), "no verb predicts. Remove the key"),
}

# Types with ranges; Lightning's own have none. A time as val_check_interval would validate at other steps on another
# machine, and after a resume.
HINTS: dict[str, Any] = {
    "accumulate_grad_batches": Count,
    "devices": list[CountOrZero] | Annotated[int, Range(-1)] | str,
    "gradient_clip_algorithm": Literal["norm", "value"] | None,
    "gradient_clip_val": NonNegative | None,
    "limit_val_batches": CountOrZero | Annotated[float, Range(0, 1)] | None,
    "log_every_n_steps": CountOrZero | None,
    "max_steps": Annotated[int, Range(-1)],
    "min_steps": CountOrZero | None,
    "num_nodes": Count,
    "num_sanity_val_steps": Annotated[int, Range(-1)] | None,
    "val_check_interval": Count | None,
}

TRAINER = ArgumentsOf(Trainer, refused=OWNED, fixed=FIXED, hints=HINTS)
