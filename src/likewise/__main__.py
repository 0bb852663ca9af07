"""``python -m likewise``: as ``likewise``, and what torchrun starts."""

from .cli import main

if __name__ == "__main__":
    main()
