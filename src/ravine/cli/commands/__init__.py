"""The commands, a file each: a command reads what was typed, asks the package, and prints."""
