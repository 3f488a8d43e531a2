"""Publishing: the producer client and what feeds it."""
