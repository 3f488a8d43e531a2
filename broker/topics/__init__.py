"""What should exist on the cluster, and the mend where it does not."""
