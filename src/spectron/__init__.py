"""Spectron: spoken language models from a short YAML. Importing the package loads nothing heavy."""

__version__ = "0.1.0"
