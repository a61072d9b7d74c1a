"""The subcommands of `converter`, one file each."""
