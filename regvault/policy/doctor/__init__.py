"""What the facts of a place mean for backups and restores: the checks of `doctor`. Pure."""
