"""Pages that need nothing else: pictures, style and script are inside."""
