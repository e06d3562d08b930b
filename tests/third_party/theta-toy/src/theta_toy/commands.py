"""A command under ``git theta``."""

import click


@click.command("toy-greet")
@click.argument("name")
def greet(name: str) -> None:
    """Greet somebody."""
    click.echo(f"Hello {name}, from theta-toy")
