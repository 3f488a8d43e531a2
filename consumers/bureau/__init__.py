"""A bureau's own side: read the inbox, acknowledge."""
