"""One file per service that `noticewire serve` runs, so that each process loads what it needs and no more."""
