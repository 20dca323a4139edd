"""Where to cut a model into stages: a search over a graph of costs that knows no torch and no clock."""
