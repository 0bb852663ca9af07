"""Measuring and training: nothing outside ``lab`` and ``cli`` imports it."""
