"""Everything that decides: policies, the scheduler, and the values they exchange."""
