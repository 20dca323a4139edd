"""Tuning: settings of the knobs that meet the objective at the least cost, by simulation."""
