"""One module a figure: each has ``measure()``, which returns rows of the table and what is behind them."""
