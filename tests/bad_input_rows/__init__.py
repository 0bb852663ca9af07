"""The rows of bad_inputs.py: one file a subject; importing this fills the table."""

from bad_input_rows import (  # isort: skip
    references,
    targets,
    backbones,
    options,
    vocabularies,
    evaluation,
    python,
    label_studio,
    clips,
    exporting,
    serving,
    ray,
    volumes,
)
from bad_input_rows.rows import ROWS, Row

__all__ = [
    "ROWS",
    "Row",
    "backbones",
    "clips",
    "evaluation",
    "exporting",
    "label_studio",
    "options",
    "python",
    "ray",
    "references",
    "serving",
    "targets",
    "vocabularies",
    "volumes",
]
