"""What every room needs: errors, files, arguments, the state of the process."""
