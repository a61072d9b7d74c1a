"""The subcommands of `training`, one file each."""
