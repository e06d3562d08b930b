"""Commands that take ``[REV] [-- PATH...]``: what stands behind ``--`` is a path, as git has it."""

from __future__ import annotations

import os

import click


class RevisionCommand(click.Command):
    """A command with the arguments ``revision`` and ``paths``.

    click drops the ``--``, so that it would take the first path for the revision. As with git, a
    path needs no ``--`` before it where it is there and no revision.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse what stands before ``--``, and add what stands behind it to the paths."""
        before, behind = args, list[str]()
        if "--" in args:
            at = args.index("--")
            before, behind = args[:at], args[at + 1 :]
        rest = super().parse_args(ctx, list(before))
        paths = (*ctx.params.get("paths", ()), *behind)
        first = ctx.params.get("revision")
        if first and "--" not in args and _is_path_alone(first):
            ctx.params["revision"], paths = None, (first, *paths)
        ctx.params["paths"] = paths
        return rest


def _is_path_alone(name: str) -> bool:
    from git_theta.git.tracked import find_tree

    return os.path.lexists(name) and not find_tree(name)
