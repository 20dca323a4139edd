"""Arrival processes: one a file, all behind ``base.ArrivalProcess``."""
