"""The frame of the command line: what it imports, what it prints, how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import types
from importlib import import_module

import click
import pytest

from git_theta import __version__, hookspecs, plugins
from git_theta.cli import commands
from git_theta.cli.main import main
from git_theta.errors import AttributesError

START = [sys.executable, "-c", "import sys; from git_theta.cli.main import main; sys.exit(main())"]


@pytest.fixture
def command(monkeypatch):
    """Add a command for the time of a test: the decorated function becomes ``git theta try``."""

    def add(function):
        module = types.ModuleType("one_command")
        module.command = click.command("try")(function)
        monkeypatch.setitem(sys.modules, "one_command", module)
        monkeypatch.setitem(commands.COMMANDS, "try", "one_command:command")

    monkeypatch.delenv("GIT_THETA_DEBUG", raising=False)
    return add


@pytest.fixture
def no_plugins(monkeypatch):
    """A process in which neither builtins nor plugins are installed."""
    monkeypatch.setattr(plugins, "BUILTINS", ())
    monkeypatch.setattr(plugins, "entry_points", lambda group: [])
    monkeypatch.delenv("GIT_THETA_STRICT_PLUGINS", raising=False)
    plugins.installed.cache_clear()
    yield
    plugins.installed.cache_clear()


def offer(module, distribution="theta-more"):
    plugins.installed().register(module, plugins.Plugin("more", distribution, "2.0"))


class Hello:
    """A plugin with one command."""

    @hookspecs.hookimpl
    def theta_commands(self):
        @click.command("hello")
        def hello():
            """Say hello."""
            click.echo("hello")

        return [hello]


class Broken:
    """A plugin whose hook fails."""

    @hookspecs.hookimpl
    def theta_commands(self):
        raise OSError("no disk")


def test_an_option_without_its_value_names_the_help_of_its_command(capsys):
    assert main(["add", "m.pt", "--update-type"]) == 2
    assert capsys.readouterr().err.endswith("requires an argument.\nSee: git theta add -h\n")
    assert main(["--debug", "du", "--by"]) == 2
    assert capsys.readouterr().err.endswith("\nSee: git theta du -h\n")


def test_version_is_printed_and_nothing_heavy_imported():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *START[1:], "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"git-theta {__version__}\n"
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "git_theta.cli.main" in imported
    assert not imported & {"numpy", "pluggy", "click", "git_theta.plugins", "subprocess"}


def test_version_after_another_option_is_printed_too(capsys):
    assert main(["--debug", "--version"]) == 0
    assert capsys.readouterr().out == f"git-theta {__version__}\n"


def test_a_command_imports_no_other_command_and_no_plugin(tmp_path):
    probe = (
        "import sys; from git_theta.cli.main import main; main(['completion', 'bash']);"
        "print(*sorted(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    imported = set(done.stderr.split())
    assert "git_theta.cli.completion" in imported
    assert not imported & {"numpy", "pluggy", "git_theta.plugins", "git_theta.cli.track"}


@pytest.mark.parametrize("name", commands.COMMANDS)
def test_every_command_has_help_with_examples(name, capsys):
    assert main([name, "-h"]) == 0
    shown = capsys.readouterr().out
    assert f"Usage: git theta {name}" in shown
    assert f"  git theta {name}" in shown.partition("Example")[2] or f"theta {name} " in shown


def test_every_subcommand_has_help_with_an_example(capsys):
    for name, place in commands.COMMANDS.items():
        module, _, attribute = place.partition(":")
        for below in getattr(getattr(import_module(module), attribute), "commands", {}):
            assert main([name, below, "-h"]) == 0
            assert f" git theta {name} {below}" in capsys.readouterr().out.partition("Example")[2]


def test_help_lists_the_commands_of_kernel_and_plugins_with_what_they_do(no_plugins, capsys):
    offer(Hello())
    for arguments in ([], ["-h"], ["--help"]):
        assert main(arguments) == 0
        shown = capsys.readouterr().out
        assert "Say hello." in shown
        for name, place in commands.COMMANDS.items():
            module, _, attribute = place.partition(":")
            short = getattr(import_module(module), attribute).get_short_help_str(20)
            assert f"  {name} " in shown
            assert short.removesuffix("...") in shown


def test_an_unknown_command_is_looked_up_in_plugins(no_plugins, capsys):
    offer(Hello())
    assert main(["hello"]) == 0
    assert capsys.readouterr().out == "hello\n"


def test_a_command_that_nobody_has_is_a_usage_error(no_plugins, capsys):
    assert main(["helo"]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("error: ")
    assert "'helo'" in shown
    assert shown.endswith("\nSee: git theta -h\n")


def test_a_broken_plugin_is_mentioned_and_does_not_hide_help_and_other_commands(no_plugins, capsys):
    offer(Hello())
    offer(Broken(), "theta-broken")
    assert main(["hello"]) == 0
    shown = capsys.readouterr()
    assert shown.out == "hello\n"
    assert "git theta plugins" in shown.err
    assert main(["-h"]) == 0


def test_two_plugins_with_one_command_leave_help_readable(no_plugins, capsys):
    offer(Hello())
    offer(Hello(), "theta-other")
    assert main(["-h"]) == 0
    shown = capsys.readouterr()
    assert "Two plugins offer 'hello'" in shown.err
    assert "track" in shown.out


def test_plugins_lists_what_each_distribution_offers(no_plugins, capsys):
    offer(Hello())
    assert main(["plugins"]) == 0
    assert capsys.readouterr().out == "theta-more 2.0\n    commands: hello\n"


def test_plugins_reports_failures_on_stderr_and_as_json(no_plugins, capsys):
    offer(Hello())
    offer(Broken(), "theta-broken")
    assert main(["plugins", "--json"]) == 0
    shown = capsys.readouterr()
    assert "broken plugin: theta-broken 2.0 (hook theta_commands): OSError: no disk" in shown.err
    assert json.loads(shown.out) == {
        "distributions": [
            {
                "distribution": "theta-more",
                "version": "2.0",
                "offers": {"theta_commands": ["hello"]},
            },
            {"distribution": "theta-broken", "version": "2.0", "offers": {}},
        ],
        "failures": [
            {
                "distribution": "theta-broken",
                "version": "2.0",
                "what": "hook theta_commands",
                "error": "OSError: no disk",
            }
        ],
        "conflicts": [],
    }


def test_plugins_survives_two_that_offer_one_name(no_plugins, capsys):
    offer(Hello())
    offer(Hello(), "theta-other")
    assert main(["plugins"]) == 0
    assert "Two plugins offer 'hello'" in capsys.readouterr().err


def test_plugins_tells_of_a_command_that_the_kernel_hides(no_plugins, monkeypatch, capsys):
    offer(Hello())
    monkeypatch.setitem(commands.COMMANDS, "hello", "git_theta.cli.install:install")
    assert main(["plugins"]) == 0
    assert "theta-more offers the command 'hello'" in capsys.readouterr().err


def test_strict_plugins_make_a_broken_one_an_error(no_plugins, monkeypatch, capsys):
    offer(Broken())
    monkeypatch.setenv("GIT_THETA_STRICT_PLUGINS", "1")
    assert main(["plugins"]) == 40
    assert "OSError: no disk" in capsys.readouterr().err


def test_an_error_of_ours_is_its_message_its_remedy_and_its_code(command, capsys):
    @command
    def fail():
        raise AttributesError("Expected this, found that", remedy="Do so")

    assert main(["try"]) == AttributesError.exit_code
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "error: Expected this, found that\nDo so\n")


def test_any_other_exception_is_one_line_and_a_hint(command, capsys):
    @command
    def fail():
        raise ValueError("odd")

    assert main(["try"]) == 1
    shown = capsys.readouterr().err
    assert shown.startswith("error: Unexpected ValueError: odd\n")
    assert "git theta --debug" in shown
    assert "Traceback" not in shown


def test_debug_shows_the_traceback(command, monkeypatch, capsys):
    @command
    def fail():
        raise AttributesError("Expected this, found that")

    monkeypatch.setenv("GIT_THETA_DEBUG", "1")
    assert main(["try"]) == AttributesError.exit_code
    assert "Traceback" in capsys.readouterr().err
    monkeypatch.setenv("GIT_THETA_DEBUG", "0")
    assert main(["try"]) == AttributesError.exit_code
    assert "Traceback" not in capsys.readouterr().err
    assert main(["--debug", "try"]) == AttributesError.exit_code
    assert "Traceback" in capsys.readouterr().err


def test_a_command_ends_with_the_code_that_it_asks_for(command):
    @command
    def fail():
        click.get_current_context().exit(7)

    assert main(["try"]) == 7


def test_a_wrong_option_is_a_usage_error(command, capsys):
    @command
    def nothing():
        pass

    assert main(["try", "--no-such"]) == 2
    shown = capsys.readouterr().err
    assert "--no-such" in shown
    assert shown.endswith("\nSee: git theta try -h\n")


def test_an_interrupt_ends_with_the_code_of_a_shell():
    ready = (
        "import sys, click, signal, types; from git_theta.cli import commands, main\n"
        "module = sys.modules['one'] = types.ModuleType('one')\n"
        "module.wait = click.command()(lambda: (print('ready', flush=True), signal.pause()))\n"
        "commands.COMMANDS['wait'] = 'one:wait'\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # ignored in the background
        "sys.exit(main.main(['wait']))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", ready], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    with process:
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, b"")


def test_a_reader_that_went_away_is_no_reason_to_complain():
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([*START, "completion", "bash"], stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_errors_are_coloured_on_a_terminal_only_and_not_against_the_users_will(
    tmp_path, no_color, coloured
):
    outside = tmp_path.resolve()
    here, there = os.openpty()
    env = os.environ | {"NO_COLOR": no_color, "GIT_CEILING_DIRECTORIES": str(outside.parent)}
    done = subprocess.run([*START, "track"], stderr=there, cwd=outside, env=env)
    os.close(there)
    said = os.read(here, 10_000)
    os.close(here)
    assert done.returncode == 50
    assert (b"\x1b[" in said) is coloured
    plain = subprocess.run([*START, "track"], capture_output=True, cwd=outside, env=env)
    assert plain.stderr.startswith(b"error: ")


def test_paths_that_are_no_valid_text_are_printed_as_they_are(repo):
    name = os.fsdecode(b"latin\xe9.pt")
    env = os.environ | {"LC_ALL": "C.UTF-8"}
    done = subprocess.run([*START, "track", name], capture_output=True, cwd=repo.path, env=env)
    assert done.stdout == b"Tracking latin\xe9.pt\n"
    assert (repo.path / ".gitattributes").read_bytes() == b"latin\xe9.pt filter=theta -text\n"
