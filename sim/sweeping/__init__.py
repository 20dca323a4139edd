"""Sweeps: many settings of the knobs, chosen beforehand, each simulated."""
