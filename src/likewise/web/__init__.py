"""Everything that listens on a port: the API, the page, the Label Studio backend."""
