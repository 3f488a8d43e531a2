"""A believable day of the network, made up from a seed: messages, their lives, and what bureaus answer."""
