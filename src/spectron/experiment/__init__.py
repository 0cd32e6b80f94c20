"""Experiments: a checked configuration, and training, evaluating and loading what it describes."""
