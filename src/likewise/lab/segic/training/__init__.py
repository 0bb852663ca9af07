"""Training the decoder: config, loop, checkpoints, validation."""
