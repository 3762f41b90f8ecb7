"""`python -m ravine`, where the command itself is not on the path."""

from ravine.cli import main

if __name__ == "__main__":
    main()
