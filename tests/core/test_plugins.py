"""The plugin manager, with plugins found through the entry points of real distributions."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pluggy
import pytest
from made_distributions import Install, failures_of, serializer

from git_theta import plugins as plugin_manager
from git_theta.errors import MissingPluginError, PluginError
from git_theta.hookspecs import hookimpl
from git_theta.plugins import BUILTINS, HOOKS, KERNEL, Plugin, Plugins

# ---- what is found -------------------------------------------------------------------------------


def test_builtins_are_registered_by_the_kernel() -> None:
    plugins = Plugins()
    assert [p.name for p in plugins.plugins[: len(BUILTINS)]] == list(BUILTINS)
    assert {p.distribution for p in plugins.plugins[: len(BUILTINS)]} == {KERNEL}
    assert plugins.offers("theta_serializers")["raw"].plugin.distribution == KERNEL


def test_every_hook_can_be_asked_and_no_other_is_listed() -> None:
    plugins = Plugins()
    for hook in HOOKS:
        for name, offer in plugins.offers(hook).items():
            assert (offer.hook, offer.name) == (hook, name)
            assert getattr(offer.value, HOOKS[hook]) == name
    with pytest.raises(AttributeError):
        plugins.offers("theta_no_such_hook")


def test_installed_plugin_is_found_with_its_distribution(install: Install) -> None:
    install("toy-serializers", serializer("toy"))
    plugins = Plugins()
    offer = plugins.offers("theta_serializers")["toy"]
    assert offer.plugin == Plugin("main", "toy-serializers", "2.5")
    assert offer.plugin in plugins.plugins
    assert plugins.serializer("toy") is offer.value
    assert not failures_of(plugins, "toy-serializers")


def test_plugins_are_asked_before_builtins(install: Install) -> None:
    install("toy-serializers", serializer("toy"))
    names = list(Plugins().offers("theta_serializers"))
    assert names.index("toy") < names.index("raw")


def test_builtin_is_found_without_discovery(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("loud", "raise AssertionError('a builtin needs no discovery')")
    plugins = Plugins()
    assert plugins.serializer("raw").name == "raw"
    assert plugins.update_type("dense").name == "dense"
    assert plugins.store_type("file").scheme == "file"
    assert plugins.format("safetensors").name == "safetensors"
    assert "loud" not in sys.modules
    assert not plugins.failures


def test_offers_are_collected_once(install: Install) -> None:
    install(
        "counting",
        """
        from types import SimpleNamespace
        from git_theta.hookspecs import hookimpl
        CALLS = []

        @hookimpl
        def theta_serializers():
            CALLS.append(1)
            yield SimpleNamespace(name="counted")
        """,
    )
    plugins = Plugins()
    for _ in range(3):
        assert "counted" in plugins.offers("theta_serializers")
        assert plugins.serializer("counted").name == "counted"
    assert sys.modules["counting"].CALLS == [1]


def test_plugin_may_be_an_object_inside_a_module(install: Install) -> None:
    source = """
        from types import SimpleNamespace
        from git_theta.hookspecs import hookimpl

        class Toy:
            @hookimpl
            def theta_stores(self):
                return [SimpleNamespace(scheme="toy")]

        toy = Toy()
        """
    install("toy-object", source, entries="main = toy_object:toy")
    assert Plugins().offers("theta_stores")["toy"].plugin.distribution == "toy-object"


def test_installed_is_one_for_the_process() -> None:
    assert plugin_manager.installed() is plugin_manager.installed()


# ---- two of one name -----------------------------------------------------------------------------


def test_two_distributions_with_one_name_are_both_named(install: Install) -> None:
    install("first-toy", serializer("same"))
    install("second-toy", serializer("same"))
    with pytest.raises(PluginError, match="'same'") as caught:
        Plugins().offers("theta_serializers")
    assert "first-toy" in str(caught.value)
    assert "second-toy" in str(caught.value)
    assert "pip uninstall" in caught.value.remedy


def test_plugin_cannot_take_the_name_of_a_builtin(install: Install) -> None:
    install("taking", serializer("raw"))
    with pytest.raises(PluginError, match="'raw'") as caught:
        Plugins().offers("theta_serializers")
    assert "taking" in str(caught.value)
    assert KERNEL in str(caught.value)


def test_one_name_for_two_hooks_is_fine(install: Install) -> None:
    install(
        "manifold",
        serializer("same")
        + """
    @hookimpl
    def theta_update_types():
        return [SimpleNamespace(name="same")]
        """,
    )
    plugins = Plugins()
    assert "same" in plugins.offers("theta_serializers")
    assert "same" in plugins.offers("theta_update_types")


# ---- what is missing -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hook", "kind"),
    [
        ("theta_checkpoint_formats", "checkpoint format"),
        ("theta_serializers", "serializer"),
        ("theta_update_types", "update type"),
        ("theta_stores", "store"),
        ("theta_merge_strategies", "merge strategy"),
        ("theta_commands", "command"),
    ],
)
def test_missing_name_is_an_error_that_says_what_it_would_be(hook: str, kind: str) -> None:
    with pytest.raises(MissingPluginError, match=f"offers the {kind} 'absent'") as caught:
        Plugins().find(hook, "absent")
    assert caught.value.remedy == "Run git theta plugins"


@pytest.mark.parametrize(
    "name", ["theta-pytorch", "theta-tensorflow", "theta-flax", "theta-objectstore"]
)
def test_missing_name_of_our_own_distribution_says_what_to_install(name: str) -> None:
    with pytest.raises(MissingPluginError) as caught:
        Plugins().format("pickled", distribution=name)
    assert str(caught.value).splitlines()[-1] == f"pip install {name}"


def test_missing_name_of_another_distribution_is_not_recommended_in_our_name() -> None:
    with pytest.raises(MissingPluginError) as caught:
        Plugins().format("pickled", distribution="theta-pickled")
    assert str(caught.value).splitlines()[-1] == (
        "The file says that theta-pickled offers it: if you trust it, pip install theta-pickled"
    )


def test_missing_name_names_the_broken_plugins(install: Install) -> None:
    install("broken-toy", "raise ValueError('out of order')")
    with pytest.raises(MissingPluginError, match=r"Broken plugin: broken-toy 2\.5 .*out of order"):
        Plugins().serializer("of-broken-toy")


# ---- registering by hand -------------------------------------------------------------------------


def test_registered_object_is_offered_at_once() -> None:
    plugins, who = Plugins(), Plugin("by-hand", "nobody", "0")
    assert "hand" not in plugins.offers("theta_serializers")
    value = SimpleNamespace(name="hand")
    plugins.register(SimpleNamespace(theta_serializers=hookimpl(lambda: [value])), who)
    assert plugins.find("theta_serializers", "hand").value is value


def test_registering_twice_is_an_error_and_keeps_the_first() -> None:
    plugins, who = Plugins(), Plugin("by-hand", "nobody", "0")
    module = SimpleNamespace(theta_serializers=hookimpl(lambda: [SimpleNamespace(name="hand")]))
    plugins.register(module, who)
    with pytest.raises(PluginError, match="registered already, as by-hand"):
        plugins.register(module, who)
    assert "hand" in plugins.offers("theta_serializers")


def test_registering_a_hook_with_arguments_is_an_error() -> None:
    module = SimpleNamespace(theta_stores=hookimpl(lambda url: [url]))
    plugins, who = Plugins(), Plugin("by-hand", "nobody", "0")
    with pytest.raises(pluggy.PluginValidationError):
        plugins.register(module, who)
    assert who not in plugins.plugins
    assert "file" in plugins.offers("theta_stores")
