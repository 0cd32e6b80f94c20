"""Overrides that reduce an experiment to one training step and one short validation."""

ONE_STEP = [
    "trainer.max_steps=1",
    "trainer.val_check_interval=1",
    "trainer.limit_val_batches=1",
    "trainer.num_sanity_val_steps=0",
    "trainer.devices=1",
]
# An untrained model rarely stops on its own, and PocketSphinx needs seconds for a second of noise.
SHORT_PANEL = [
    "callbacks.speech.init_args.panel_size=2",
    "callbacks.speech.init_args.audio_items=1",
    "callbacks.speech.init_args.decoding.max_text_tokens=8",
    "callbacks.speech.init_args.decoding.max_seconds=0.5",
]
