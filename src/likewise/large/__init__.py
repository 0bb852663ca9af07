"""Images that are too large, too wide or too fine to be seen at once."""
