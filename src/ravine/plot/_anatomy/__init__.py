"""One update, opened."""
