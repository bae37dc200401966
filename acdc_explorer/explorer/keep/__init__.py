"""What was done, as a script and in words."""
