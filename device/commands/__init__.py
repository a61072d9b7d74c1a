"""The subcommands of `sortbin`: one file each, with `add_parser` and `run`."""
