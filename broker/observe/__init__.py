"""Logs, metrics and health; identifiers and codes only, never a subject's data."""
