"""SegIC (ECCV 2024): a light decoder over the frozen backbone, trained once, used in context."""
