"""Over HTTP: the API of `likewise serve`."""
