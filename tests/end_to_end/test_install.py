"""git theta install and uninstall, seen in git's own configuration."""

from __future__ import annotations

import pytest

SEED = """\
[filter "theta"]
\tclean = git-theta-filter clean %f
\tsmudge = git-theta-filter smudge %f
\tprocess = git-theta-filter process
\trequired = true
"""


def test_install_writes_the_filter_section_to_the_global_configuration(newcomer):
    done = newcomer.theta("install")
    assert done.returncode == 0, done.stderr
    assert "installed in the global" in done.stdout
    assert (newcomer.home / ".gitconfig").read_text() == SEED


def test_installing_twice_changes_nothing_and_says_so(newcomer):
    newcomer.theta("install")
    done = newcomer.theta("install")
    assert done.returncode == 0
    assert "installed already" in done.stdout
    assert (newcomer.home / ".gitconfig").read_text() == SEED


@pytest.mark.parametrize("scope", ["local", "global", "system", "worktree"])
def test_every_scope_gets_the_section_and_loses_it_again(newcomer, scope):
    newcomer.git("config", "--local", "alias.mine", "log")
    assert newcomer.theta("install", f"--{scope}").returncode == 0
    assert newcomer.git("config", f"--{scope}", "filter.theta.required") == "true\n"
    assert newcomer.git("config", "filter.theta.process") == "git-theta-filter process\n"
    assert newcomer.theta("uninstall", f"--{scope}").returncode == 0
    left = newcomer.run("git", "config", "--get-regexp", "theta")
    assert (left.returncode, left.stdout) == (1, "")
    assert newcomer.git("config", "alias.mine") == "log\n"


def test_install_leaves_everything_else_in_the_file_alone(newcomer):
    before = '# mine\n[user]\n\tname = A  ; comment\n[filter "lfs"]\n\trequired = true\n'
    (newcomer.home / ".gitconfig").write_text(before)
    newcomer.theta("install")
    assert (newcomer.home / ".gitconfig").read_text() == before + SEED
    newcomer.theta("uninstall")
    assert (newcomer.home / ".gitconfig").read_text() == before


def test_skip_smudge_can_be_switched_on_and_off(newcomer):
    newcomer.theta("install")
    assert newcomer.theta("install", "--skip-smudge").returncode == 0
    assert newcomer.git("config", "filter.theta.smudge") == "git-theta-filter smudge --skip %f\n"
    assert newcomer.git("config", "filter.theta.process") == "git-theta-filter process --skip\n"
    assert newcomer.git("config", "filter.theta.clean") == "git-theta-filter clean %f\n"
    assert newcomer.theta("install").returncode == 0
    assert (newcomer.home / ".gitconfig").read_text() == SEED


def test_values_of_another_hand_are_named_and_kept_without_force(newcomer):
    newcomer.git("config", "--global", "filter.theta.clean", "my-own %f")
    newcomer.git("config", "--global", "filter.theta.required", "false")
    done = newcomer.theta("install")
    assert done.returncode == 50
    assert "filter.theta.clean = my-own %f" in done.stderr
    assert "filter.theta.required = false" in done.stderr
    assert done.stderr.endswith("git theta install --global --force\n")
    assert newcomer.git("config", "--global", "filter.theta.clean") == "my-own %f\n"
    assert newcomer.theta("install", "--force").returncode == 0
    assert newcomer.git("config", "filter.theta.clean") == "git-theta-filter clean %f\n"
    assert newcomer.git("config", "filter.theta.required") == "true\n"


def test_a_variable_with_several_values_ends_with_ours_alone(newcomer):
    for value in ("git-theta-filter clean %f", "my-own %f"):
        newcomer.git("config", "--global", "--add", "filter.theta.clean", value)
    assert newcomer.theta("install").returncode == 50
    assert newcomer.theta("install", "--force").returncode == 0
    values = newcomer.git("config", "--global", "--get-all", "filter.theta.clean")
    assert values == "git-theta-filter clean %f\n"


def test_required_in_another_spelling_of_true_is_accepted(newcomer):
    (newcomer.home / ".gitconfig").write_text('[filter "theta"]\n\trequired\n')
    assert newcomer.theta("install").returncode == 0
    assert newcomer.git("config", "--type=bool", "filter.theta.required") == "true\n"


def test_the_section_of_the_first_git_theta_is_completed(newcomer):
    old = SEED.replace("\tprocess = git-theta-filter process\n", "")
    (newcomer.home / ".gitconfig").write_text(old)
    assert newcomer.theta("install").returncode == 0
    assert newcomer.git("config", "filter.theta.process") == "git-theta-filter process\n"


def test_uninstall_removes_every_copy_of_the_section(newcomer):
    (newcomer.home / ".gitconfig").write_text(SEED + "[user]\n\tname = A\n" + SEED)
    assert newcomer.theta("uninstall").returncode == 0
    assert (newcomer.home / ".gitconfig").read_text() == "[user]\n\tname = A\n"


def test_uninstalling_what_is_not_there_says_so(newcomer):
    done = newcomer.theta("uninstall")
    assert done.returncode == 0
    assert "is not installed in the global" in done.stdout


def test_uninstall_tells_of_a_section_left_in_another_scope(newcomer):
    newcomer.theta("install")
    newcomer.theta("install", "--local")
    done = newcomer.theta("uninstall")
    assert "still installed" in done.stderr
    assert newcomer.git("config", "--local", "filter.theta.required") == "true\n"


def test_local_outside_of_a_repository_is_an_error_of_git(newcomer, tmp_path):
    done = newcomer.theta("install", "--local", cwd=tmp_path)
    assert done.returncode == 50
    assert "--local can only be used inside a git repository" in done.stderr


def test_a_device_as_configuration_file_is_not_replaced(newcomer):
    done = newcomer.theta("install", GIT_CONFIG_GLOBAL="/dev/null")
    assert done.returncode == 50
    assert "GIT_CONFIG_GLOBAL names /dev/null" in done.stderr


def test_a_filter_that_git_will_not_find_is_a_warning(newcomer, tmp_path):
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "git").symlink_to(newcomer.run("sh", "-c", "command -v git").stdout.strip())
    python = newcomer.run("sh", "-c", "command -v python").stdout.strip()
    call = "import sys; from git_theta.cli.main import main; sys.exit(main())"
    done = newcomer.run(python, "-c", call, "install", PATH=str(programs))
    assert done.returncode == 0
    assert "git-theta-filter is not on PATH" in done.stderr
