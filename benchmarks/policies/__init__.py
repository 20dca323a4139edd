"""How well policies do: goodput by regime, safety at every load, and cost."""
