"""The model of known service time, served by each server. Each module needs its server's package."""
