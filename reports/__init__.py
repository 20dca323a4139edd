"""Records, metrics, figures and reports; reads runs, knows no engine."""
