"""The completion scripts, run by the shells they are for."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

GIT_COMPLETION = next(
    (
        path
        for path in (
            Path("/usr/share/bash-completion/completions/git"),
            Path("/etc/bash_completion.d/git-completion.bash"),
            Path("/usr/share/git-core/contrib/completion/git-completion.bash"),
        )
        if path.exists()
    ),
    None,
)

BASH = r"""
[ -z "$1" ] || source "$1"
eval "$(git-theta completion bash)"
read -ra COMP_WORDS <<<"$3"
[[ $3 == *" " ]] && COMP_WORDS+=("")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMP_LINE=$3 COMP_POINT=${#3}
$2
printf '%s\n' "${COMPREPLY[@]}"
"""

LINES = [
    ("git-theta completion ", ["bash", "zsh", "fish"]),
    ("git-theta track --f", ["--filename"]),
    ("git-theta inst", ["install"]),
    ("git theta completion ", ["bash", "zsh", "fish"]),
    ("git theta unt", ["untrack"]),
    ("git -C . theta unt", ["untrack"]),
    ("git theta track --f", ["--filename"]),
]


def complete(desk, line):
    """The words that bash offers for a line."""
    done = desk.run("bash", "-c", BASH, "bash", "", "__git_theta_main", line)
    return done.stdout.split()


def test_names_of_this_repository_are_completed(tracked, model):
    tracked.git("remote", "add", "origin", "/nowhere")
    tracked.git("remote", "add", "other", "/nowhere")
    assert complete(tracked, "git-theta push o") == ["origin", "other"]
    assert complete(tracked, "git-theta fetch oth") == ["other"]
    assert complete(tracked, "git-theta remote remove or") == ["origin"]
    assert complete(tracked, "git-theta prune --remote ") == ["origin", "other"]
    tracked.write("m.pt", model())
    tracked.commit("Model")
    tracked.git("branch", "feature/x")
    tracked.git("tag", "v1")
    assert complete(tracked, "git-theta push origin feat") == ["feature/x"]
    assert complete(tracked, "git-theta du v") == ["v1"]
    tracked.theta("track", "sub/*.bin")
    assert complete(tracked, "git-theta untrack su") == ["sub/*.bin"]


@pytest.mark.parametrize("command", ["push", "untrack", "du"])
def test_where_there_is_no_repository_nothing_fails(newcomer, tmp_path, command):
    (tmp_path / "outside").mkdir()
    newcomer.env |= {"GIT_CEILING_DIRECTORIES": str(tmp_path), "COMP_CWORD": "2"}
    newcomer.env |= {"_GIT_THETA_COMPLETE": "bash_complete", "COMP_WORDS": f"git-theta {command} "}
    done = newcomer.run("git-theta", cwd=tmp_path / "outside")
    assert (done.returncode, done.stderr) == (0, "")
    words = [line for line in done.stdout.splitlines() if line.startswith("plain,")]
    assert words == (["plain,HEAD"] if command == "du" else [])


@pytest.mark.parametrize(("line", "words"), LINES)
def test_bash_completes_both_ways_to_call_us(newcomer, line, words):
    if line.startswith("git "):
        if GIT_COMPLETION is None:
            pytest.skip("git's own completion for bash is not installed")
        script, function = str(GIT_COMPLETION), "__git_wrap__git_main"
    else:
        script, function = "", "__git_theta_main"
    done = newcomer.run("bash", "-c", BASH, "bash", script, function, line)
    assert done.stdout.split() == words, done.stderr


@pytest.mark.parametrize(("line", "words"), LINES)
def test_fish_completes_both_ways_to_call_us(newcomer, line, words):
    if shutil.which("fish") is None:
        pytest.skip("fish is not installed")
    ask = f"git-theta completion fish | source; complete -C '{line}'"
    done = newcomer.run("fish", "--no-config", "-c", ask)
    found = {line.partition("\t")[0] for line in done.stdout.splitlines()}
    assert found == set(words), done.stderr


def test_zsh_accepts_the_script_and_registers_it(newcomer):
    if shutil.which("zsh") is None:
        pytest.skip("zsh is not installed")
    ask = (
        'autoload -U compinit; compinit -D -u; eval "$(git-theta completion zsh)"; '
        "print $_comps[git-theta]; zstyle -a ':completion:*:*:git:*' user-commands all; print $all"
    )
    done = newcomer.run("zsh", "-f", "-c", ask)
    assert done.stdout.splitlines() == ["_git-theta", "theta:version machine learning models"]


def test_a_shell_that_we_do_not_know_is_a_usage_error(newcomer):
    done = newcomer.theta("completion", "csh")
    assert done.returncode == 2
    assert "'bash', 'zsh', 'fish'" in done.stderr
