"""Who signed what, who would be given it, and what rules take away."""
