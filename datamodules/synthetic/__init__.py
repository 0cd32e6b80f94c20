"""Synthetic corpus: a small closed world of facts as synthesised speech, questions and text, without downloads."""
