"""Many settings at once, and how near that comes to torch."""
