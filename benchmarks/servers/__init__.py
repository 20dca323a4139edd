"""Real servers on loopback beside their simulated rules: ``python -m benchmarks.servers``."""
