"""Counters and loop states of Lightning that exact resume reads and corrects; Lightning does not promise to keep them.

They were tested with the versions of ``TESTED``. ``datamodules/streaming.py`` reads one more such attribute, to learn
whether Lightning would insert its own sampler. ``tests/training/test_lightning_internals.py`` fails if one of them is
missing, and ``tests/experiment/test_resume.py`` if one of them has another meaning.
"""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy

TESTED = ("2.6", "2.7")  # at least the first, below the second


def batch_counts(trainer: Trainer) -> Any:
    """Return Lightning's counts of batches ready, started, processed and completed, over all epochs."""
    return trainer.fit_loop.epoch_loop.batch_progress.total


def is_between_steps(trainer: Trainer) -> bool:
    """Return whether no batch is in work."""
    counts = batch_counts(trainer)
    return counts.started == counts.processed == counts.completed


def is_accumulated(trainer: Trainer) -> bool:
    """Return whether no gradient waits for further batches."""
    return trainer.fit_loop.epoch_loop.batch_progress.current.completed % trainer.accumulate_grad_batches == 0


def skip_restart_of_validation(trainer: Trainer) -> None:
    """Continue with a training batch after a resume.

    Lightning takes a checkpoint written after a validation for one written during it, and would spend a turn of its
    loop on the rest of that validation.
    """
    trainer.fit_loop.epoch_loop.reset_restart_stage()
    trainer.fit_loop.epoch_loop.val_loop.reset_restart_stage()


def validate_now(trainer: Trainer) -> None:
    """Validate at the start of a resumed fit, as Lightning does after a batch."""
    loop, connector = trainer.fit_loop.epoch_loop, trainer._logger_connector
    first_batch = connector._first_loop_iter
    loop.val_loop.restarting = False
    trainer.validating = True
    loop.val_loop.run()
    trainer.training = True
    connector._first_loop_iter = first_batch
    loop.update_lr_schedulers("step", update_plateau_schedulers=True)


def enter_finished_loop(trainer: Trainer, enter: bool) -> None:
    """Let the fit loop of a resumed training begin although all steps are done, or end the exception again.

    Lightning otherwise leaves the loop before any callback is called.
    """
    loop = trainer.fit_loop.epoch_loop
    if loop.max_steps >= 0:
        loop.max_steps += 1 if enter else -1


def state_of(trainer: Trainer) -> dict[str, Any]:
    """Return the checkpoint that ``Trainer.save_checkpoint`` would write."""
    return trainer._checkpoint_connector.dump_checkpoint(weights_only=False)


def find_unused_parameters(trainer: Trainer) -> bool:
    """Let several processes train a model of which a step may leave out a part, such as one on text alone.

    Otherwise they would wait forever for the gradients of that part.

    Returns:
        Whether that is possible, which the strategy may exclude.
    """
    if not isinstance(trainer.strategy, DDPStrategy):
        return True
    return trainer.strategy._ddp_kwargs.setdefault("find_unused_parameters", True)


def mark_between_steps(trainer: Trainer, state: dict[str, Any]) -> None:
    """Correct the fit loop's state in a checkpoint: all batches so far are done, and the next one has not begun.

    The validation after these batches may be still to come.
    """
    batches = state["epoch_loop.batch_progress"]
    for counts in (batches["total"], batches["current"]):
        # The current batch was fetched and not used: a resumed run fetches it again.
        counts["ready"] = counts["completed"]
    batches["is_last_batch"] = False
    if is_accumulated(trainer) and not trainer.validating:
        # On loading, Lightning adds one, as it usually writes a checkpoint before it counts the batch, which it does
        # after a validation.
        state["epoch_loop.state_dict"]["_batches_that_stepped"] -= 1
    if trainer.num_training_batches == float("inf"):
        # An endless epoch does not end because the trainer stops.
        for counts in state["epoch_progress"].values():
            counts["processed"] = counts["completed"] = counts["started"] - 1
