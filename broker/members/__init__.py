"""The directory: bureaus, entities, regions, subscriptions and keys, as of a version."""
