"""Commands that take ``[REV] [-- PATH...]``: what stands behind ``--`` is a path, as git has it."""

from __future__ import annotations

import click


class RevisionCommand(click.Command):
    """A command with the arguments ``revision`` and ``paths``.

    click drops the ``--``, so that it would take the first path for the revision.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse what stands before ``--``, and add what stands behind it to the paths."""
        before, behind = args, list[str]()
        if "--" in args:
            at = args.index("--")
            before, behind = args[:at], args[at + 1 :]
        rest = super().parse_args(ctx, list(before))
        ctx.params["paths"] = (*ctx.params.get("paths", ()), *behind)
        return rest
