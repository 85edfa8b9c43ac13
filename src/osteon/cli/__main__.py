"""`python -m osteon.cli`, where the `osteon` command is not on the path."""

from osteon.cli.main import main
from osteon.core.processes import handle_ctrl_break

handle_ctrl_break()
main()
