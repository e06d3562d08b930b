"""The plugin manager: registers the builtins, discovers installed plugins, reports what is broken.

Builtins are modules registered exactly as third parties' are. A plugin that cannot be loaded or
whose hook raises is reported by ``git theta plugins`` and skipped; ``GIT_THETA_STRICT_PLUGINS=1``
makes it an error. Two distributions that offer one name are an error that names both.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

import pluggy

from git_theta import __version__, hookspecs
from git_theta.discovery import entry_points
from git_theta.errors import MissingPluginError, PluginError

if TYPE_CHECKING:
    from git_theta.formats.interface import CheckpointFormat
    from git_theta.serializers.interface import Serializer
    from git_theta.storage.interface import StoreType
    from git_theta.updates.interface import UpdateType

KERNEL = "git-theta-core"
"""The distribution that the builtins belong to."""

OBJECTSTORE = "git-theta[objectstore]"
"""What to install for the stores that are reached over HTTP."""

OURS = frozenset(
    [
        KERNEL,
        "git-theta",
        OBJECTSTORE,
        "theta-flax",
        "theta-objectstore",
        "theta-pytorch",
        "theta-tensorflow",
    ]
)
"""Distributions of this project; any other name in a file is what its writer chose."""

BUILTINS = (
    "git_theta.formats.builtin",
    "git_theta.serializers.builtin",
    "git_theta.updates.builtin",
    "git_theta.storage.builtin",
)

HOOKS: dict[str, str] = {
    "theta_checkpoint_formats": "name",
    "theta_serializers": "name",
    "theta_update_types": "name",
    "theta_stores": "scheme",
    "theta_merge_strategies": "name",
    "theta_commands": "name",
}
"""The hooks, each with the attribute under which what it returns is found."""

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


class Plugin(NamedTuple):
    """A plugin that was found, loaded or not."""

    name: str
    """Name of the module or entry point."""
    distribution: str
    """The distribution that brought it, as one would ``pip install`` it."""
    version: str
    """Version of the distribution."""


class Offer(NamedTuple):
    """One thing that a plugin offers."""

    hook: str
    """The hook that returned it."""
    name: str
    """The name under which it is found."""
    value: Any
    """The object that carries the behaviour."""
    plugin: Plugin
    """Who offers it."""


class Failure(NamedTuple):
    """A plugin that could not be loaded, or a hook of it that failed."""

    plugin: Plugin
    """Who failed."""
    what: str
    """What was tried: an import, a hook."""
    error: BaseException
    """How it failed."""

    def __str__(self) -> str:
        fault = f"{type(self.error).__name__}: {self.error}"
        return f"{self.plugin.distribution} {self.plugin.version} ({self.what}): {fault}"


class Plugins:
    """What the builtins and the installed plugins offer, collected hook by hook when asked."""

    def __init__(self) -> None:
        self.failures: list[Failure] = []
        self._manager = pluggy.PluginManager(hookspecs.PROJECT)
        self._manager.add_hookspecs(hookspecs)
        self._plugins: dict[int, Plugin] = {}
        self._offers: dict[tuple[str, bool], dict[str, Offer]] = {}
        self._discovered = False
        for name in BUILTINS:
            self.register(import_module(name), Plugin(name, KERNEL, __version__))

    def register(self, module: object, plugin: Plugin) -> None:
        """Add a plugin that this process has imported already; discovery adds the installed ones.

        Raises
        ------
        PluginError
            When it is registered already.
        pluggy.PluginValidationError
            When a hook of it takes arguments.
        """
        if id(module) in self._plugins:
            other = self._plugins[id(module)]
            raise PluginError(f"{module!r} is registered already, as {other.name}")
        try:
            self._manager.register(module, name=f"{plugin.distribution}:{plugin.name}")
        except Exception:
            if self._manager.is_registered(module):  # pluggy before 1.7 stops halfway
                self._manager.unregister(module)
            raise
        self._plugins[id(module)] = plugin
        self._offers.clear()
        for hook in self._manager.get_hookcallers(module) or ():
            if not hook.has_spec():
                error = PluginError("git-theta calls no such hook")
                self.failures.append(Failure(plugin, f"hook {hook.name}", error))

    @property
    def plugins(self) -> list[Plugin]:
        """All plugins that are registered, the builtins first."""
        self._discover()
        return list(self._plugins.values())

    def offers(self, hook: str) -> dict[str, Offer]:
        """All that is offered for a hook, by name; what plugins offer stands before the builtins.

        Raises
        ------
        PluginError
            When two plugins offer one name, or a plugin failed and plugins are strict.
        """
        self._discover()
        found = self._collect(hook)
        if self.failures and os.environ.get("GIT_THETA_STRICT_PLUGINS") == "1":
            raise PluginError(
                "\n".join(f"Broken plugin: {failure}" for failure in self.failures),
                remedy="Reinstall or uninstall it, or unset GIT_THETA_STRICT_PLUGINS",
            ) from self.failures[0].error
        return found

    def find(self, hook: str, name: str, *, distribution: str = "") -> Offer:
        """What is offered under a name; builtins are found without discovery.

        Raises
        ------
        MissingPluginError
            When no plugin offers it; ``distribution`` is what to install then, if that is known.
        """
        offer = self._collect(hook).get(name) if not self._discovered else None
        offer = offer or self.offers(hook).get(name)
        if offer:
            return offer
        import shlex  # seldom needed, and git waits for what is imported

        kind = hook.removeprefix("theta_").replace("_", " ")
        kind = kind.removesuffix("ies") + "y" if kind.endswith("ies") else kind.removesuffix("s")
        broken = "".join(f"\nBroken plugin: {failure}" for failure in self.failures)
        remedy = (
            f"pip install {shlex.quote(distribution)}" if distribution else "Run git theta plugins"
        )
        if distribution and distribution not in OURS:
            remedy = f"The file says that {distribution} offers it: if you trust it, {remedy}"
        raise MissingPluginError(
            f"No installed plugin offers the {kind} {name!r}{broken}", remedy=remedy
        )

    def format(self, name: str, *, distribution: str = "") -> CheckpointFormat:
        """The checkpoint format of a name; errors as in :meth:`find`."""
        found: CheckpointFormat = self.find(
            "theta_checkpoint_formats", name, distribution=distribution
        ).value
        return found

    def serializer(self, name: str, *, distribution: str = "") -> Serializer:
        """The serializer of a name; errors as in :meth:`find`."""
        found: Serializer = self.find("theta_serializers", name, distribution=distribution).value
        return found

    def update_type(self, name: str, *, distribution: str = "") -> UpdateType:
        """The update type of a name; errors as in :meth:`find`."""
        found: UpdateType = self.find("theta_update_types", name, distribution=distribution).value
        return found

    def store_type(self, scheme: str) -> StoreType:
        """The store type of a URL scheme; errors as in :meth:`find`."""
        distribution = OBJECTSTORE if scheme in ("s3", "gs", "az", "http", "https") else ""
        found: StoreType = self.find("theta_stores", scheme, distribution=distribution).value
        return found

    def _discover(self) -> None:
        if self._discovered:
            return
        self._discovered = True
        self._offers.clear()
        for entry in entry_points(hookspecs.PROJECT):
            plugin = Plugin(entry.name, entry.distribution, entry.version)
            try:
                self.register(entry.load(), plugin)
            except (Exception, SystemExit) as error:  # a broken plugin must not stop the host
                self.failures.append(Failure(plugin, f"import of {entry.value}", error))

    def _collect(self, hook: str) -> dict[str, Offer]:
        key = (hook, self._discovered)
        if key not in self._offers:
            found: dict[str, Offer] = {}
            for offer in self._ask(hook):
                other = found.setdefault(offer.name, offer)
                if other is not offer:
                    raise PluginError(
                        f"Two plugins offer {offer.name!r} for {hook}: "
                        f"{other.plugin.distribution} and {offer.plugin.distribution}",
                        remedy="Uninstall one of them with pip uninstall",
                    )
            self._offers[key] = found
        return self._offers[key]

    def _ask(self, hook: str) -> Iterator[Offer]:
        implementations = getattr(self._manager.hook, hook).get_hookimpls()
        for implementation in reversed(implementations):  # pluggy calls the latest first
            plugin = self._plugins[id(implementation.plugin)]
            try:
                offered = list(implementation.function())
                names = [_checked_name(value, HOOKS[hook]) for value in offered]
            except (Exception, SystemExit) as error:  # a broken plugin must not stop the host
                if plugin.distribution == KERNEL:  # which is not broken: memory is short, or files
                    raise
                self.failures.append(Failure(plugin, f"hook {hook}", error))
                continue
            yield from (
                Offer(hook, name, value, plugin) for name, value in zip(names, offered, strict=True)
            )


def _checked_name(value: object, attribute: str) -> str:
    name = getattr(value, attribute, None)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise PluginError(
            f"{value!r} has the {attribute} {name!r}, expected lower case, digits and hyphens"
        )
    return name


@cache
def installed() -> Plugins:
    """The plugins of this process."""
    return Plugins()
