"""Datasets for training and annotation tools out of finished masks."""
