"""Configurations in the formats of real servers, one file a format: out of ours, and into it."""
