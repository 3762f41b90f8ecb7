"""One run of a real torch optimizer, recorded."""
