"""A real four-stage recommender: recall, pre-rank, rank, re-rank; its data, training and weights."""
