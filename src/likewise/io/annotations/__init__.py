"""The files in which annotation tools keep outlines: one module a kind, all read into shapes."""
