"""regvault: backup, tiering and disaster recovery for container registries."""

__version__ = "0.1.0"
