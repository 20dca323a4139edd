"""What theory knows of one stage: its optimum, a bound for several replicas, and what foresight could do."""
