"""Accuracy on labelled episodes and on the benchmarks of the papers."""
