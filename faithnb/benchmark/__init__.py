"""Tasks with a known mechanism, and what a recipe for sparse layers is scored by."""
