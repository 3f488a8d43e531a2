"""State in a database, always together with the position in the log that it was made from."""
