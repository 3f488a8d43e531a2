"""From ledger and receipts to the state of every delivery."""
