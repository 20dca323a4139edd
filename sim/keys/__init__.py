"""What requests ask for: one distribution of keys a file, all behind ``base.Keys``."""
