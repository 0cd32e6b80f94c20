"""Experiments: a checked configuration, and the training, evaluation and loading of its model."""
