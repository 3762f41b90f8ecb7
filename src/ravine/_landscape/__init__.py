"""The loss over a plane of two parameters."""
