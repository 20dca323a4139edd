"""Which way of holding suits which load and objective: candidates, tuned on some seeds and scored on others."""
