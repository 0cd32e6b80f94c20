"""A small closed world of facts, spoken by a synthesizer: speech, questions and text with nothing to download."""
