"""Signatures and keys; who would be given a message, and what rules take away."""
