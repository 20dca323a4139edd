"""A real recommender: three ways of recall, pre-rank, rank, re-rank; its data, training and weights."""
