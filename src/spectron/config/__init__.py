"""Configuration: composing YAML files, checking them against type hints, building what they name."""
