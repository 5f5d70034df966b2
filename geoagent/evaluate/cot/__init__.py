"""Quality of chains of thought (GRE, arXiv 2505.18700): how good the way to an answer is."""
