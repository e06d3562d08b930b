"""Broken plugins are reported and skipped; strictness makes them an error."""

from __future__ import annotations

import sys

import pytest
from made_distributions import SERIALIZER, Install, failures_of, serializer

from git_theta.errors import PluginError
from git_theta.plugins import Plugins


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("raise ValueError('out of order')", "ValueError: out of order"),
        ("import no_such_module_anywhere", "No module named 'no_such_module_anywhere'"),
        ("this is no python", "SyntaxError"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
    ],
)
def test_broken_import_is_reported_and_others_work(
    install: Install, source: str, fault: str
) -> None:
    install("broken-toy", source)
    install("sound-toy", serializer("sound"))
    plugins = Plugins()
    assert {"sound", "raw"} <= plugins.offers("theta_serializers").keys()
    (failure,) = failures_of(plugins, "broken-toy")
    assert failure.startswith("broken-toy 2.5 (import of broken_toy): ")
    assert fault in failure


@pytest.mark.parametrize(
    ("hook", "module"),
    [
        ("theta_update_types", "git_theta.updates.cast"),
        ("theta_serializers", "git_theta.serializers.rice"),
        ("theta_checkpoint_formats", "git_theta.formats.npy"),
    ],
)
def test_what_keeps_builtins_from_being_imported_is_an_error(
    monkeypatch: pytest.MonkeyPatch, hook: str, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # as where too many files are open
    with pytest.raises(ImportError, match=module):
        Plugins().offers(hook)


def test_entry_point_to_nothing_is_reported(install: Install) -> None:
    install("lost-toy", "", entries="main = lost_toy:missing")
    plugins = Plugins()
    assert "raw" in plugins.offers("theta_serializers")
    assert "import of lost_toy:missing" in failures_of(plugins, "lost-toy")[0]


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ("raise RuntimeError('no luck')", "RuntimeError: no luck"),
        ("return None", "TypeError"),
        ("return 3", "TypeError"),
        ("raise SystemExit(2)", "SystemExit: 2"),
        ("yield SimpleNamespace(name='a'); raise KeyError('late')", "KeyError: 'late'"),
    ],
)
def test_broken_hook_is_reported_and_others_work(install: Install, body: str, fault: str) -> None:
    install(
        "broken-toy",
        f"""
        from types import SimpleNamespace
        from git_theta.hookspecs import hookimpl

        @hookimpl
        def theta_serializers():
            {body}

        @hookimpl
        def theta_update_types():
            return [SimpleNamespace(name="still-offered")]
        """,
    )
    plugins = Plugins()
    offered = plugins.offers("theta_serializers")
    assert "raw" in offered
    assert "a" not in offered, "half an answer is no answer"
    assert "still-offered" in plugins.offers("theta_update_types")
    (failure,) = failures_of(plugins, "broken-toy")
    assert failure.startswith("broken-toy 2.5 (hook theta_serializers): ")
    assert fault in failure


@pytest.mark.parametrize(
    "name",
    ["''", "None", "7", "'Upper'", "'with space'", "'-first'", "'../up'", "'a' * 65", "'tail\\n'"],
)
def test_invalid_name_is_reported(install: Install, name: str) -> None:
    install("misnamed", SERIALIZER.replace('"{name}"', name))
    plugins = Plugins()
    assert "raw" in plugins.offers("theta_serializers")
    (failure,) = failures_of(plugins, "misnamed")
    assert "expected lower case, digits and hyphens" in failure


def test_hook_with_arguments_is_reported_and_offers_nothing(install: Install) -> None:
    install(
        "argued",
        """
        from types import SimpleNamespace
        from git_theta.hookspecs import hookimpl

        @hookimpl
        def theta_serializers():  # registered before the faulty one
            return [SimpleNamespace(name="from-argued")]

        @hookimpl
        def theta_stores(url):
            return []
        """,
    )
    plugins = Plugins()
    assert "from-argued" not in plugins.offers("theta_serializers")
    assert "file" in plugins.offers("theta_stores")
    (failure,) = failures_of(plugins, "argued")
    assert "theta_stores" in failure


def test_misspelt_hook_is_reported_and_the_others_work(install: Install) -> None:
    misspelt = "\n    @hookimpl\n    def theta_serialisers():\n        return []\n"
    install("misspelt", serializer("well-spelt") + misspelt)
    plugins = Plugins()
    assert "well-spelt" in plugins.offers("theta_serializers")
    (failure,) = failures_of(plugins, "misspelt")
    assert "hook theta_serialisers" in failure
    assert "no such hook" in failure


def test_module_named_by_two_entry_points_is_registered_once(install: Install) -> None:
    install("twice", serializer("once"), entries="one = twice\ntwo = twice")
    plugins = Plugins()
    assert "once" in plugins.offers("theta_serializers")
    (failure,) = failures_of(plugins, "twice")
    assert "registered already" in failure


def test_strict_plugins_make_a_broken_import_an_error_every_time(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("broken-toy", "raise ValueError('out of order')")
    monkeypatch.setenv("GIT_THETA_STRICT_PLUGINS", "1")
    plugins = Plugins()
    for _ in range(2):
        with pytest.raises(PluginError, match=r"broken-toy 2\.5 .*out of order") as caught:
            plugins.offers("theta_serializers")
        assert isinstance(caught.value.__cause__, ValueError)
        assert "GIT_THETA_STRICT_PLUGINS" in caught.value.remedy


def test_strict_plugins_make_a_broken_hook_an_error(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("broken-toy", serializer("x").replace("return [", "raise RuntimeError('no luck') or ["))
    monkeypatch.setenv("GIT_THETA_STRICT_PLUGINS", "1")
    plugins = Plugins()
    assert plugins.offers("theta_stores")
    with pytest.raises(PluginError, match="no luck"):
        plugins.offers("theta_serializers")


def test_only_one_makes_plugins_strict(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("broken-toy", "raise ValueError")
    monkeypatch.setenv("GIT_THETA_STRICT_PLUGINS", "0")
    assert "raw" in Plugins().offers("theta_serializers")
