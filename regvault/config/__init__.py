"""The configuration: `regvault.yaml`, and what a name or a location on the command line means.

Only `model`, `load` and `schema` need pydantic and a YAML reader; they are imported where a
configuration file was found.
"""
