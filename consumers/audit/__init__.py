"""Every record of every topic in an append-only archive that a stranger can check."""
