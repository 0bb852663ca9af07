"""What answers over HTTP: the API and the page. Needs the extra ``ui`` or ``server``."""
