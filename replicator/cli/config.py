"""`replicator config`: the flow file's schema, its effective values, and a template."""

from __future__ import annotations

import enum
import json
import os
import sys
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(help="The flow file: its schema, effective values, a template.", no_args_is_help=True)


class Output(enum.StrEnum):
    """How values are written."""

    YAML = "yaml"
    JSON = "json"


@app.command("schema")
def schema_command() -> None:
    """Print the JSON Schema of the flow file, for editors and CI.

    It is draft 7.
    """
    from replicator.config.schema import schema  # pydantic is slow to import

    _print_json(schema())


@app.command("effective")
def effective_command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The flow file.", show_default=False)],
    output: Annotated[Output, typer.Option("-o", "--output", help="Output format.")] = Output.YAML,
) -> None:
    """Print every key with its effective value.

    That is the value after defaults, includes and variables. Secrets are redacted.
    """
    from replicator.config.load import effective  # pydantic is slow to import

    values = effective(file, os.environ)
    if output is Output.JSON:
        _print_json(values)
        return
    from ruamel.yaml import YAML  # only needed here

    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style = False
    writer.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # untyped attribute
    writer.dump(values, sys.stdout)


@app.command("template")
def template_command() -> None:
    """Print a commented flow file to start from."""
    text = resources.files("replicator.config").joinpath("template.yaml").read_text(encoding="utf-8")
    typer.echo(text, nl=False)


def _print_json(values: dict[str, Any]) -> None:
    typer.echo(json.dumps(values, indent=2))
