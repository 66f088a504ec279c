"""`python -m baldistill`: the command line."""

from baldistill.cli import main

main()
