"""The commands, one module each: a function whose signature is its options."""
