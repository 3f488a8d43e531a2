"""What should exist on the cluster, and how it differs from what does."""
