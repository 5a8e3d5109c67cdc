"""The commands, one module each; `regvault.cli.main.COMMANDS` says which is where."""
