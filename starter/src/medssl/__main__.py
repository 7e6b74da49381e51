"""`python -m medssl`: the command line where the command `medssl` is not on the PATH."""

from medssl.cli import main

main()
