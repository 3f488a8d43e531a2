"""The core: what a message is, who gets it, and how it travels over Kafka."""
