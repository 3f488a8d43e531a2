"""Foreign formats, one file for each: what they hold becomes messages that are marked as imported extracts."""
