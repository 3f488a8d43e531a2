"""Kafka as the rest sees it: shards, transactions, raw reading, fan-out, headers."""
