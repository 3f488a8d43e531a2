"""Fictitious notices and diffusions, as data. No real person."""
