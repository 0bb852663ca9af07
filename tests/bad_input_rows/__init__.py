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
    planes,
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
    "planes",
    "python",
    "ray",
    "references",
    "serving",
    "targets",
    "vocabularies",
    "volumes",
]
