"""``python -m mmpipe``: the command."""

from mmpipe.cli import main

main()
