"""Who takes part: bureaus, entities, their keys and subscriptions, as of a version of the directory."""
