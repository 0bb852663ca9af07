"""Reading and writing: pictures, masks, annotation files, whole files on disk."""
