"""Whole slides: pyramids of microscopes, read in windows at a chosen size of pixel."""
