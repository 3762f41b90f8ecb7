"""Words for torch's classes: "adam", "mse", "cosine", as they are typed in Python and on the command line."""
