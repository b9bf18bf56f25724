"""What moves on a page."""
