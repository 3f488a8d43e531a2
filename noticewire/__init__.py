"""The public names of Noticewire."""
