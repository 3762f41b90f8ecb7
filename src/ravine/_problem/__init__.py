"""What is minimised: a loss of named parameters, and where to start."""
