"""Weights and their files: hub models, safetensors, checkpoints, exports."""
