"""A plugin manager that knows the object under test, installed or not."""

from __future__ import annotations

from types import SimpleNamespace

from git_theta.hookspecs import hookimpl
from git_theta.plugins import HOOKS, Plugin, Plugins

TESTED = Plugin("conformance", "the plugin under test", "0")
"""Who offers an object that no installed distribution offers."""


def plugins_with(hook: str, value: object) -> Plugins:
    """The installed plugins, and one that offers ``value`` unless an installed one does.

    Raises
    ------
    PluginError
        When ``value`` has no valid name.
    """
    plugins = Plugins()
    offer = plugins.offers(hook).get(getattr(value, HOOKS[hook], ""))
    if offer is None:
        plugins.register(SimpleNamespace(**{hook: hookimpl(lambda: (value,))}), TESTED)
        plugins.offers(hook)
        for failure in plugins.failures:
            if failure.plugin is TESTED:
                raise failure.error
    else:
        assert type(offer.value) is type(value), (
            f"Expected the name {offer.name!r} to be free for {type(value).__qualname__}, "
            f"found that {offer.plugin.distribution} offers it"
        )
    return plugins
