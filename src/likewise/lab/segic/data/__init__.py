"""Training data of the decoder: pairs of images from several kinds of sources."""
