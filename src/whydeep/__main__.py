"""`python -m whydeep`: the command line, where its script is not on the path."""

from whydeep.cli import main

if __name__ == "__main__":
    main()
