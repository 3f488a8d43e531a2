"""What reads the log: router, tracker, bureau client, audit; each independent of the others."""
