"""The rejected desk: what could not be routed, and what has mended it since."""
