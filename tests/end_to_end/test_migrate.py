"""``git theta migrate`` over real histories and the real git-lfs: only the driver changes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess

import pytest
from test_failing_writes import KILL

pytestmark = pytest.mark.skipif(shutil.which("git-lfs") is None, reason="git-lfs is not installed")

LFS_LINE = b"filter=lfs diff=lfs merge=lfs -text\n"
THETA_LINE = b"filter=theta -text\n"
MOMENTS = 10
"""At how many moments a migration is killed."""


@pytest.fixture
def lfs(desk):
    """A repository whose *.safetensors lie in Git LFS."""
    desk.git("lfs", "install", "--skip-repo")
    desk.attributes = b"*.safetensors " + LFS_LINE
    desk.write("README", b"A model\n")
    desk.commit("Track")
    return desk


@pytest.fixture
def history(lfs, model):
    """Two branches that were merged, a tag of each kind, a renamed and an unchanged file."""
    lfs.write("m.safetensors", model())
    lfs.write("sub/other.safetensors", model(rows=16))
    lfs.commit("One")
    lfs.git("tag", "light")
    lfs.git("checkout", "--quiet", "-b", "side")
    lfs.write("m.safetensors", model(1))
    lfs.commit("Two on the side")
    lfs.git("tag", "-a", "-m", "Released\n\nwith notes", "v1")
    lfs.git("checkout", "--quiet", "main")
    lfs.write("README", b"Another model\n")
    lfs.git("mv", "sub/other.safetensors", "sub/moved.safetensors")
    lfs.commit("Two on main")
    lfs.git("merge", "--quiet", "-m", "Merge", "side")
    lfs.write("m.safetensors", model(2))
    lfs.commit("Three")
    return lfs


def migrate(desk, *args, **env):
    done = desk.theta("migrate", *args, **env)
    assert done.returncode == 0, done.stderr
    return done


def versions(desk, *revisions):
    """Per commit, by its message: every path with its mode and the digest of its file."""
    found, known = {}, {}
    for line in desk.git(
        "log", "--format=%H %s", *(revisions or ["--branches", "--tags"])
    ).splitlines():
        commit, _, subject = line.partition(" ")
        files = found.setdefault(subject, {})
        for entry in desk.git("ls-tree", "-r", "-z", commit).split("\0")[:-1]:
            fields, _, path = entry.partition("\t")
            mode, kind, oid = fields.split(" ")
            if path.rpartition("/")[2] != ".gitattributes":
                if oid not in known:
                    known[oid] = digest(desk, kind, oid)
                files[path] = mode, known[oid]
    return found


def digest(desk, kind, oid):
    if kind != "blob":
        return oid
    run = {"cwd": desk.path, "env": desk.env, "capture_output": True, "check": True}
    data = subprocess.run(["git", "cat-file", "blob", oid], **run).stdout
    if data.startswith(b"git-theta metadata"):
        data = subprocess.run(["git-theta-filter", "smudge", "x"], input=data, **run).stdout
    elif data.startswith(b"version https://git-lfs"):
        data = subprocess.run(["git", "lfs", "smudge"], input=data, **run).stdout
        assert not data.startswith(b"version https://git-lfs")
    return hashlib.sha256(data).hexdigest()


def shape(desk):
    """The history without ids: messages, parents' messages, authors, dates."""
    form = "--format=%s|%an|%ae|%ad|%cn|%ce|%cd|%D|%H|%P"
    lines = [
        line.split("|") for line in desk.git("log", "--topo-order", form, "--branches").splitlines()
    ]
    names = {line[-2]: line[0] for line in lines}
    return [(*line[:-2], *(names[parent] for parent in line[-1].split())) for line in lines]


def refs(desk, *patterns):
    form = "--format=%(refname) %(objectname)"
    answer = desk.git("for-each-ref", form, *(patterns or ["refs/heads", "refs/tags"]))
    return dict(line.split(" ") for line in answer.splitlines())


def drivers(desk, revision):
    """Paths of a revision that hold a pointer or metadata, each with which."""
    found = {}
    for path in desk.git("ls-tree", "-r", "-z", "--name-only", revision).split("\0")[:-1]:
        text = desk.run("git", "show", f"{revision}:{path}").stdout
        if text.startswith("git-theta metadata"):
            found[path] = "theta"
        elif text.startswith("version https://git-lfs"):
            found[path] = "lfs"
    return found


def attributes(desk, revision, path=".gitattributes"):
    return desk.git("show", f"{revision}:{path}").encode()


def test_a_history_goes_from_lfs_to_theta_and_every_version_is_the_same(history):
    before, old = versions(history), refs(history)
    old_shape = [line[:7] + line[8:] for line in shape(history)]
    done = migrate(history, "import", "--everything")
    assert "6 of 6 commits became others; 4 versions of files" in done.stdout
    assert versions(history) == before
    assert [line[:7] + line[8:] for line in shape(history)] == old_shape
    for revision in ("main", "side", "light", "v1", "main~2"):
        assert set(drivers(history, revision).values()) == {"theta"}, revision
        assert attributes(history, revision) == b"*.safetensors " + THETA_LINE
    assert history.status() == ""
    assert history.theta("fsck").returncode == 0
    history.git("fsck", "--strict")
    originals = {
        name.removeprefix("refs/original/"): oid
        for name, oid in refs(history, "refs/original").items()
    }
    assert originals == old


def test_a_push_of_the_new_history_sends_its_weights(history, tmp_path):
    history.git("remote", "add", "origin", history.bare("remote.git"))
    (history.path / ".git/hooks/pre-push").unlink()
    said = migrate(history, "import", "--everything").stderr
    assert "git push sends weights" in said
    history.git("push", "--quiet", "--force", "--all", "origin")
    history.git("clone", "--quiet", str(tmp_path / "remote.git"), "clone", cwd=tmp_path)
    assert history.at(tmp_path / "clone").read("m.safetensors") == history.read("m.safetensors")


def test_there_and_back_gives_the_very_commits(history):
    before = refs(history)
    migrate(history, "import", "--everything")
    assert refs(history).keys() == before.keys()
    assert not set(refs(history).values()) & set(before.values())
    migrate(history, "export", "--everything", "--force")
    assert refs(history) == before
    assert history.status() == ""
    assert history.git("lfs", "fsck").endswith("OK\n")


def test_a_clone_of_the_exported_history_needs_git_lfs_alone(history, tmp_path):
    files = {name: history.read(name) for name in ("m.safetensors", "sub/moved.safetensors")}
    migrate(history, "import", "--everything")
    shutil.rmtree(history.path / ".git/lfs/objects")
    migrate(history, "export", "--everything", "--force")
    shutil.rmtree(history.store)
    history.git("clone", "--quiet", str(history.path), str(tmp_path / "clone"))
    clone = history.at(tmp_path / "clone")
    assert {name: clone.read(name) for name in files} == files


def test_the_tree_of_an_export_into_git_holds_the_files_themselves(history):
    before = versions(history)
    migrate(history, "import", "--everything")
    migrate(history, "export", "--everything", "--to", "git", "--force")
    assert versions(history) == before
    for revision in ("main", "side", "light", "v1"):
        assert drivers(history, revision) == {}
        assert attributes(history, revision) == b"*.safetensors -text\n"
    assert history.status() == ""


def test_commits_before_the_first_model_keep_their_names(desk, model):
    desk.write("README", b"x")
    desk.commit("Before")
    desk.write("m.pt", model())
    desk.commit("Model")
    desk.git("rm", "--quiet", "m.pt")
    desk.commit("Without")
    first = desk.git("rev-parse", "HEAD~2")
    migrate(desk, "import", "--include", "*.pt")
    assert desk.git("rev-parse", "HEAD~2") == first
    assert drivers(desk, "HEAD~1") == {"m.pt": "theta"}
    assert attributes(desk, "HEAD~1") == b"*.pt " + THETA_LINE
    assert attributes(desk, "HEAD") == b"*.pt " + THETA_LINE


def test_included_files_are_taken_from_lfs_and_from_git(lfs, model):
    lfs.write("in-lfs.safetensors", model(1))
    lfs.write("in-git.pt", model(2))
    lfs.write("left.safetensors", model(3))
    lfs.commit("Models")
    before = versions(lfs)
    migrate(lfs, "import", "--include", "in-*")
    assert drivers(lfs, "HEAD") == {
        "in-lfs.safetensors": "theta",
        "in-git.pt": "theta",
        "left.safetensors": "lfs",
    }
    assert versions(lfs) == before
    assert lfs.status() == ""
    assert lfs.attribute("merge", "in-lfs.safetensors") == "unspecified"
    assert attributes(lfs, "HEAD") == (
        b"*.safetensors " + LFS_LINE + b"in-* filter=theta -text !diff !merge\n"
    )


def test_a_pattern_that_lfs_had_is_replaced_in_its_place(lfs, model):
    lfs.attributes = b"*.safetensors " + LFS_LINE + b"*.pt " + LFS_LINE + b"*.txt text\n"
    lfs.write("m.pt", model())
    lfs.commit("Model")
    migrate(lfs, "import", "--include", "*.pt")
    assert lfs.attributes == b"*.safetensors " + LFS_LINE + b"*.pt " + THETA_LINE + b"*.txt text\n"
    assert lfs.status() == ""


def test_excluded_files_stay_where_they_are_and_git_is_quiet(lfs, model):
    lfs.write("m.safetensors", model(1))
    lfs.write("old/m.safetensors", model(2))
    lfs.commit("Models")
    before = versions(lfs)
    migrate(lfs, "import", "--exclude", "old/")
    assert drivers(lfs, "HEAD") == {"m.safetensors": "theta", "old/m.safetensors": "lfs"}
    assert (
        attributes(lfs, "HEAD", "old/.gitattributes") == b"/m.safetensors " + LFS_LINE[:-7] + b"\n"
    )
    assert versions(lfs) == before
    assert lfs.status() == ""


def test_paths_that_were_ever_long_go_in_all_their_versions(desk, model):
    desk.write("m.pt", model(rows=16))
    desk.write("small.pt", model(rows=2))
    desk.commit("Small")
    desk.write("m.pt", model(rows=256))
    desk.commit("Long")
    before = versions(desk)
    migrate(desk, "import", "--above", "100kB")
    assert drivers(desk, "HEAD") == drivers(desk, "HEAD~1") == {"m.pt": "theta"}
    assert attributes(desk, "HEAD~1") == b"/m.pt " + THETA_LINE
    assert versions(desk) == before
    assert desk.status() == ""


def test_attributes_in_subfolders_and_macros_are_followed(lfs, model):
    lfs.attributes = b"[attr]model filter=lfs diff=lfs merge=lfs -text\n*.pt model\n"
    lfs.write("sub/.gitattributes", b"*.pt -filter\n/a[[]1].pt filter=lfs -text\n")
    lfs.write("m.pt", model(1))
    lfs.write("sub/plain.pt", model(2))
    lfs.write("sub/a[1].pt", model(3))
    lfs.write("m.safetensors", model(4))
    lfs.commit("Models")
    assert drivers(lfs, "HEAD") == {"m.pt": "lfs", "sub/a[1].pt": "lfs"}
    before = versions(lfs)
    migrate(lfs, "import")
    assert drivers(lfs, "HEAD") == {"m.pt": "theta", "sub/a[1].pt": "theta"}
    assert versions(lfs) == before
    assert lfs.status() == ""
    migrate(lfs, "import", "--include", "*.pt", "--force")
    assert drivers(lfs, "HEAD").keys() == {"m.pt", "sub/a[1].pt", "sub/plain.pt"}
    assert versions(lfs) == before
    assert lfs.status() == ""


def test_links_modes_submodules_and_odd_names_stay(lfs, model, tmp_path):
    lfs.write("run.safetensors", model(1)).chmod(0o755)
    (lfs.path / "link.safetensors").symlink_to("run.safetensors")
    lfs.write('odd\n"ä ö.safetensors', model(2))
    lfs.write("empty.safetensors", b"")
    lfs.git("add", ".")
    commit = lfs.git("rev-parse", "HEAD").strip()
    lfs.git("update-index", "--add", "--cacheinfo", f"160000,{commit},module")
    lfs.git("commit", "--quiet", "-m", "Odd")
    os.mkdir(lfs.path / "module")
    before = versions(lfs)
    migrate(lfs, "import")
    assert versions(lfs) == before
    assert drivers(lfs, "HEAD") == {"run.safetensors": "theta", 'odd\n"ä ö.safetensors': "theta"}
    assert lfs.status() == ""
    migrate(lfs, "export", "--force")
    assert versions(lfs) == before


def test_signatures_of_what_changed_are_left_out_with_a_warning(lfs, model):
    begin, end = "-----BEGIN PGP SIGNATURE-----\n", "-----END PGP SIGNATURE-----\n"

    def signed(kind, ref):
        data = lfs.git("cat-file", kind, ref)
        if kind == "tag":
            return f"{data}{begin}\nabc\n{end}"
        head, _, message = data.partition("\n\n")
        return f"{head}\ngpgsig {begin} \n abc\n {end}encoding latin-1\n\n{message}"

    def put(kind, data):
        file = lfs.write("../object", data.encode())
        return lfs.git("hash-object", "-t", kind, "-w", str(file)).strip()

    lfs.write("m.safetensors", model())
    lfs.commit("Model")
    lfs.git("update-ref", "refs/heads/main", put("commit", signed("commit", "HEAD")))
    lfs.git("tag", "-a", "-m", "One", "v1")
    lfs.git("update-ref", "refs/tags/v1", put("tag", signed("tag", "v1")))
    lfs.git("tag", "-a", "-m", "Of the tag", "v2", "v1")
    done = migrate(lfs, "import", "--everything")
    assert "warning: 2 commits or tags lost a signature" in done.stderr
    commit = lfs.git("cat-file", "commit", "HEAD")
    assert "SIGNATURE" not in commit
    assert "\nencoding latin-1\n\nModel\n" in commit
    assert lfs.git("cat-file", "tag", "v1").endswith("\n\nOne\n")
    assert lfs.git("rev-parse", "v2^{commit}") == lfs.git("rev-parse", "HEAD")
    lfs.git("fsck", "--strict")


def test_a_dry_run_changes_nothing_and_says_what_would_be(history):
    before = refs(history), history.packs(), sorted(os.listdir(history.path / ".git"))
    said = json.loads(migrate(history, "import", "--everything", "--dry-run", "--json").stdout)
    assert (said["commits"], said["rewritten"], said["versions"]) == (6, 6, 4)
    assert said["dry_run"]
    assert (refs(history), history.packs()) == before[:2]
    assert refs(history, "refs/original") == {}


def test_only_named_branches_move_and_the_rest_stays(history):
    before = refs(history)
    done = migrate(history, "import", "side")
    assert "3 other refs still lead to the old history: refs/heads/main, refs/tags/" in done.stderr
    after = refs(history)
    assert {name for name in before if before[name] != after[name]} == {"refs/heads/side"}
    assert history.status() == ""


def test_commits_that_are_left_out_keep_their_names(history):
    before = history.git("rev-parse", "light", "main").split()
    migrate(history, "import", "main", "^light")
    assert history.git("rev-parse", "main~3").strip() == before[0]
    assert drivers(history, "light") == {"m.safetensors": "lfs", "sub/other.safetensors": "lfs"}
    assert set(drivers(history, "main").values()) == {"theta"}
    assert history.status() == ""


def test_the_map_has_every_commit_and_tag(history, tmp_path):
    before = history.git("log", "--format=%H %s", "--all").splitlines()
    tag = history.git("rev-parse", "v1").strip()
    migrate(history, "import", "--everything", "--map", str(tmp_path / "map"))
    names = dict(line.split(" ") for line in (tmp_path / "map").read_text().splitlines())
    assert names.keys() == {tag, *(line.split(" ")[0] for line in before)}
    for line in before:
        old, _, subject = line.partition(" ")
        assert history.git("log", "-1", "--format=%s", names[old]).strip() == subject


def test_changes_that_are_not_committed_stop_it(history, model):
    before = refs(history)
    history.write("README", b"changed")
    said = history.refused("git", "theta", "migrate", "import")
    assert "found one in README" in said
    history.git("checkout", "--", "README")
    history.write("new.safetensors", model(5))
    history.git("add", "new.safetensors")
    assert "new.safetensors" in history.refused("git", "theta", "migrate", "import")
    assert refs(history) == before


def test_a_file_that_git_does_not_know_is_not_overwritten(desk, model):
    desk.write("m.pt", model())
    desk.commit("Model")
    desk.attributes = b"mine\n"
    said = desk.refused("git", "theta", "migrate", "import", "--include", "*.pt")
    assert ".gitattributes is not in git, and the new history has such a file" in said
    assert desk.attributes == b"mine\n"
    assert refs(desk, "refs/original") == {}


def test_what_an_earlier_migration_kept_is_not_overwritten(history):
    before = refs(history)
    migrate(history, "import")
    kept = refs(history, "refs/original")
    said = history.refused("git", "theta", "migrate", "export")
    assert "refs/original/refs/heads/main is kept from an earlier rewriting" in said
    assert (
        refs(history, "refs/original")
        == kept
        == {"refs/original/refs/heads/main": before["refs/heads/main"]}
    )


def test_lfs_files_that_are_not_here_are_fetched(history, tmp_path):
    before = versions(history)
    history.git("init", "--quiet", "--bare", str(tmp_path / "remote"))
    history.git("remote", "add", "origin", str(tmp_path / "remote"))
    history.git("push", "--quiet", "origin", "main", "side", "v1", "light")
    history.git(
        "clone",
        "--quiet",
        "--no-checkout",
        str(tmp_path / "remote"),
        str(tmp_path / "c"),
        GIT_LFS_SKIP_SMUDGE="1",
    )
    clone = history.at(tmp_path / "c")
    clone.git("checkout", "--quiet", "main", GIT_LFS_SKIP_SMUDGE="1")
    clone.git("branch", "--quiet", "side", "origin/side")
    clone.git("config", "lfs.fetchinclude", "nothing")
    migrate(clone, "import", "--everything")
    assert versions(clone, "main", "side", "v1") == before
    assert clone.read("m.safetensors").startswith(b"git-theta metadata")
    assert clone.status() == ""
    assert clone.theta("checkout").returncode == 0
    assert clone.read("m.safetensors") == history.read("m.safetensors")
    assert clone.status() == ""


def test_an_lfsconfig_that_names_a_stranger_s_host_is_not_followed(history, tmp_path):
    history.write(".lfsconfig", b"[lfs]\n\turl = https://stranger.example/lfs\n")
    history.commit("Redirect")
    history.git("init", "--quiet", "--bare", str(tmp_path / "remote"))
    history.git("remote", "add", "origin", str(tmp_path / "remote"))
    shutil.rmtree(history.path / ".git/lfs/objects")
    before = refs(history)
    said = history.refused("git", "theta", "migrate", "import", "--everything")
    assert "https://stranger.example/lfs" in said
    assert "git theta remote accept" in said
    assert refs(history) == before


def test_packs_that_are_not_here_are_fetched_for_an_export(history, tmp_path):
    before = versions(history)
    migrate(history, "import", "--everything")
    history.git("init", "--quiet", "--bare", str(tmp_path / "remote"))
    history.git("remote", "add", "origin", str(tmp_path / "remote"))
    history.git("push", "--quiet", "origin", "main", "side", "v1", "light")
    pushed = history.theta("push", "origin", "main", "side", "v1", "light")
    assert pushed.returncode == 0, pushed.stderr
    shutil.rmtree(history.store)
    shutil.rmtree(history.path / ".git/lfs/objects")
    migrate(history, "export", "--everything", "--force")
    assert versions(history) == before
    assert history.status() == ""


def test_versions_that_nobody_has_stop_it_or_stay_where_they_are(history):
    pointer = history.git("show", "side:m.safetensors").split("\n")[1].partition(":")[2]
    (history.path / ".git/lfs/objects" / pointer[:2] / pointer[2:4] / pointer).unlink()
    before = refs(history)
    said = history.refused("git", "theta", "migrate", "import", "--everything")
    assert "1 of 4 versions of files cannot be had" in said
    assert f"m.safetensors: the LFS file {pointer}" in said
    assert "no remote" in said
    assert refs(history) == before
    done = migrate(history, "import", "--everything", "--allow-missing")
    assert "warning: 1 version could not be had, and stayed as before" in done.stderr
    assert drivers(history, "side") == {"m.safetensors": "lfs", "sub/other.safetensors": "theta"}
    assert attributes(history, "side").endswith(b"/m.safetensors " + LFS_LINE[:-7] + b"\n")
    assert set(drivers(history, "main").values()) == {"theta"}
    assert history.status() == ""


def test_a_damaged_lfs_file_is_an_error_that_names_it(history):
    pointer = history.git("show", "side:m.safetensors").split("\n")[1].partition(":")[2]
    file = history.path / ".git/lfs/objects" / pointer[:2] / pointer[2:4] / pointer
    data = bytearray(file.read_bytes())
    data[1000] ^= 1
    file.chmod(0o644)
    file.write_bytes(data)
    before = refs(history)
    said = history.refused("git", "theta", "migrate", "import", "--everything")
    assert f"m.safetensors: expected the file {pointer}, found other bytes" in said
    assert refs(history) == before


def test_an_export_whose_packs_are_gone_changes_nothing(history):
    migrate(history, "import", "--everything")
    before = refs(history)
    for pack in history.packs().values():
        pack.unlink()
    said = history.refused("git", "theta", "migrate", "export", "--everything", "--force")
    assert "4 of 4 versions of files cannot be had" in said
    assert refs(history) == before


def test_other_work_trees_follow_and_changes_in_them_stop_it(history, tmp_path):
    history.git("worktree", "add", "--quiet", str(tmp_path / "w"), "side")
    other = history.at(tmp_path / "w")
    content = other.read("m.safetensors")
    other.write("README", b"changed")
    assert str(tmp_path / "w") in history.refused(
        "git", "theta", "migrate", "import", "--everything"
    )
    other.git("checkout", "--", "README")
    migrate(history, "import", "--everything")
    assert history.status() == other.status() == ""
    assert other.attributes == b"*.safetensors " + THETA_LINE
    assert other.read("m.safetensors") == content


def test_a_head_that_is_on_no_branch_moves_with_everything(history):
    history.git("checkout", "--quiet", "--detach", "main~1")
    migrate(history, "import", "--everything")
    assert history.git("rev-parse", "HEAD") == history.git("rev-parse", "main~1")
    assert history.status() == ""


def test_a_bare_repository_is_migrated(history, tmp_path):
    before = versions(history)
    history.git("clone", "--quiet", "--mirror", str(history.path), str(tmp_path / "bare"))
    bare = history.at(tmp_path / "bare")
    bare.git("lfs", "fetch", "--all", "origin")
    migrate(bare, "import", "--everything")
    assert versions(bare) == before


def test_a_shallow_clone_is_refused(history, tmp_path):
    history.git(
        "clone",
        "--quiet",
        "--depth=1",
        f"file://{history.path}",
        str(tmp_path / "c"),
        GIT_LFS_SKIP_SMUDGE="1",
    )
    said = history.at(tmp_path / "c").refused("git", "theta", "migrate", "import")
    assert "git fetch --unshallow" in said


def test_patterns_that_match_git_s_own_files_are_refused(history):
    said = history.refused("git", "theta", "migrate", "import", "--include", "*")
    assert "match .gitattributes" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["import", "nosuch"], "Expected a branch or a tag, found 'nosuch'"),
        (["import", "--everything", "main"], "--everything takes all branches and tags"),
        (["import", "--above", "big"], "'big' is no size"),
        (["export", "--to", "cvs"], "'cvs' is not one of"),
    ],
)
def test_wrong_arguments_are_told(history, arguments, said):
    assert said in history.refused("git", "theta", "migrate", *arguments)


def test_a_history_without_such_files_is_left_alone(desk):
    desk.write("README", b"x")
    desk.commit("One")
    assert migrate(desk, "import").stdout == "Nothing to rewrite in 1 commit\n"
    assert refs(desk, "refs/original") == {}


def test_a_repository_of_sha256_names_is_migrated(desk, model, tmp_path):
    desk.git("init", "--quiet", "--object-format=sha256", "-b", "main", str(tmp_path / "r"))
    other = desk.at(tmp_path / "r")
    other.write("m.pt", model(1))
    other.commit("One")
    other.write("m.pt", model(2))
    other.commit("Two")
    before = versions(other)
    migrate(other, "import", "--include", "*.pt")
    assert versions(other) == before
    assert drivers(other, "HEAD~1") == {"m.pt": "theta"}
    assert other.status() == ""


def test_a_pattern_of_a_folder_leaves_its_attributes_file_alone(desk, model):
    desk.write("a/m.pt", model())
    desk.write("a/.gitattributes", b"*.txt text\n")
    desk.write("a/.gitignore", b"*.tmp\n")
    desk.commit("Model")
    migrate(desk, "import", "--include", "a/")
    assert drivers(desk, "HEAD") == {"a/m.pt": "theta"}
    assert desk.status() == ""
    for name in ("a/.gitattributes", "a/.gitignore"):
        assert desk.attribute("filter", name) == "unspecified"


def test_no_pattern_gets_an_attributes_file_that_is_added(lfs, model):
    lfs.attributes = b"**/b/* filter=lfs diff=lfs merge=lfs -text\n"
    lfs.write("a/.gitattributes", b"b/m.pt filter=lfs diff=lfs merge=lfs -text\n")
    lfs.write("a/b/m.pt", model(1))
    lfs.write("a/b/n.bin", b"n")
    lfs.commit("Models")
    before = versions(lfs)
    migrate(lfs, "import", "--include", "*.pt")
    assert drivers(lfs, "HEAD") == {"a/b/m.pt": "theta", "a/b/n.bin": "lfs"}
    assert lfs.attribute("filter", "a/b/.gitattributes") == "unspecified"
    assert lfs.git("show", "HEAD:a/b/.gitattributes").startswith("/")
    assert (versions(lfs), lfs.status()) == (before, "")
    migrate(lfs, "export", "--force")
    assert (versions(lfs), lfs.status()) == (before, "")


def test_killed_at_any_moment_it_leaves_all_refs_as_they_were_or_moves_them_all(history, tmp_path):
    folder, calls = tmp_path / "kill", tmp_path / "calls"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(KILL)
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    before, old = versions(history), refs(history)
    copy = tmp_path / "copy"
    shutil.copytree(history.path, copy, symlinks=True)
    command = ("import", "--everything")
    migrate(history.at(copy), *command, PYTHONPATH=path, TEST_CALLS=str(calls))
    total, killed, moved = calls.stat().st_size, 0, {}
    for moment in range(MOMENTS):
        at = str(1 + total * moment // MOMENTS)
        done = history.theta("migrate", *command, PYTHONPATH=path, TEST_KILL_AT=at)
        killed += done.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL)
        if refs(history) != old:
            moved = refs(history)
            break
        assert history.status() == ""
        assert refs(history, "refs/original") == {}
        history.git("fsck")
    assert killed > MOMENTS // 2
    if not moved:
        migrate(history, *command)
    assert not set(refs(history).values()) & set(old.values())
    # whoever is killed leaves git's lock, too, which git has its user remove
    (history.path / ".git/index.lock").unlink(missing_ok=True)
    history.git("reset", "--quiet", "--hard")
    assert versions(history) == before
    assert history.theta("fsck").returncode == 0
    assert not (history.store / "migrate").exists() or moved
