"""Configuration: composition of YAML files, checks against type hints, building of the named classes."""
