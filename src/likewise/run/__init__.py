"""Segmenting many images: which ones, the runner, what is on disk already, several processes."""
