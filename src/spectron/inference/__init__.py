"""Inference: a model from its configuration, and a speaker that continues recordings. No trainer is imported."""
