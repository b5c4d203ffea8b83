"""The operator's tools: `discover` writes a configuration, `check` and `probe` try it, `health` and `diagnose` tell what is wrong."""

from __future__ import annotations

import typer

from commands.check import check
from commands.diagnose import diagnose
from commands.discover import app as discover
from commands.gaps import gaps
from commands.health import health
from commands.plan import plan
from commands.probe import probe
from commands.recovery import recovery
from commands.replay import replay
from commands.simulate import simulate
from commands.take_over import take_over

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown", help=__doc__)
app.command()(check)
app.command()(diagnose)
app.command()(gaps)
app.command()(health)
app.command()(plan)
app.command()(probe)
app.add_typer(discover, name="discover")
app.command()(recovery)
app.command()(replay)
app.command()(simulate)
app.command()(take_over)


@app.callback()
def _commands() -> None:
    """The operator's tools."""


def main() -> None:
    """The console script `dlms-thingsboard`."""
    app(prog_name="dlms-thingsboard")


if __name__ == "__main__":
    app(prog_name="python -m commands")
