"""Work handed to other processes and machines."""
