"""Which way of holding suits which load and objective: candidates, tuned on one seed and scored on others."""
