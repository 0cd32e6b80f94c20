"""Inference: a model from its configuration, and a speaker that continues recordings. Nothing here imports a trainer."""
