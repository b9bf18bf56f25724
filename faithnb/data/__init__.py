"""What transcoders are trained and measured on."""
