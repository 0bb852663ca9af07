"""What the decoder is trained on: pairs of pictures from several kinds of sources."""
