"""Which way of holding suits which load and objective: candidates, tuned and scored."""
