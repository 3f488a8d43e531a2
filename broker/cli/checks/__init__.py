"""What `noticewire doctor` looks at, one file per subject; nothing is changed by looking."""
