"""How transcoders are trained, and where they are kept."""
