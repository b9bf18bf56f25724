"""What is explained, and what explains it."""
