"""Wall time: torch workers, the dispatcher, profiling and load generation."""
