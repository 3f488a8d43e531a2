"""The command noticewire: one file per command."""
