"""`python -m commands`: the operator's tools."""

from __future__ import annotations

import typer

from commands.check import check
from commands.diagnose import diagnose
from commands.gaps import gaps
from commands.health import health
from commands.recovery import recovery

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
app.command()(check)
app.command()(diagnose)
app.command()(gaps)
app.command()(health)
app.command()(recovery)


@app.callback()
def _commands() -> None:
    """The operator's tools."""


if __name__ == "__main__":
    app(prog_name="python -m commands")
