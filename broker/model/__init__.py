"""What the domain is: messages, subjects, circulation, names and stages; no I/O."""
