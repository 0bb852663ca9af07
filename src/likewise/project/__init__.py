"""A project folder: its settings, its database, corrections and report."""
