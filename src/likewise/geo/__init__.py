"""Rasters with a place on the earth: read in windows, results on the same grid and as polygons."""
