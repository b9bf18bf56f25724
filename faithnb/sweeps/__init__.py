"""Many experiments, here or on many machines."""
