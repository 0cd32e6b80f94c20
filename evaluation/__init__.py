"""Judging generated speech: metrics, judges, and the callback that applies them at validation time."""
