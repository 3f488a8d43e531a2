"""From the feeds to the inboxes and the ledger, exactly once."""
