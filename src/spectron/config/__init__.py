"""Configuration: composition of YAML files, check against type hints, and building of the named classes."""
