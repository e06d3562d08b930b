"""What every store must hold: subclass :class:`StoreConformance`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from git_theta.errors import MissingPackError, PackError, StoreError, ThetaError
from git_theta.storage.interface import Store, StoreType
from git_theta.testing.hostile import expect
from git_theta.testing.memory import at_most
from git_theta.testing.registered import plugins_with

PACK_BYTES = 64 * 2**20
"""Bytes of a pack that is as large as packs get."""

MANY = 200
"""Packs that are put and got in one call."""

INVALID = (
    "",
    ".",
    "..",
    "../" + "a" * 61,
    "a" * 63,
    "a" * 65,
    "A" * 64,
    "g" * 64,
    "a" * 64 + "\n",
    "a" * 32 + "/" + "a" * 31,
    "a" * 32 + "\0" + "a" * 31,
    "/" + "a" * 63,
    "٣" * 64,  # a digit to str.isdigit, and no hex digit
)
"""Names that no pack has."""


class StoreConformance:
    """The checks of a store.

    Examples
    --------
    >>> from git_theta.storage.folder import FolderStoreType
    >>> class TestFolder(StoreConformance):
    ...     "A folder, damaged by hand."
    ...     store_type = FolderStoreType()
    ...     def url(self, folder):
    ...         return (folder / "store").as_uri()
    ...     def corrupt(self, folder, pack):
    ...         next((folder / "store").rglob(pack)).write_bytes(b"damaged")
    """

    store_type: StoreType
    """The type of store under test."""
    bad_urls: tuple[str, ...] = ()
    """URLs of the scheme that are not valid."""
    memory_bound: int = 48 * 2**20
    """Bytes that putting and getting a pack of 64 MiB may allocate."""

    def url(self, folder: Path) -> str:
        """The URL of an empty store for one test, the same for the same ``folder``.

        ``folder`` exists and is the test's own, for stores that lie in a folder.
        """
        raise NotImplementedError("Expected url() to return the URL of an empty store")

    def corrupt(self, folder: Path, pack: str) -> None:
        """Damage what the store of ``url(folder)`` has of a pack, behind the store's back."""
        raise NotImplementedError("Expected corrupt() to damage a pack of the store")

    # ---- valid packs -----------------------------------------------------------------------------

    def test_is_found_by_its_scheme(self) -> None:
        """The scheme is valid and not taken."""
        scheme = self.store_type.scheme
        found = plugins_with("theta_stores", self.store_type).store_type(scheme)
        assert type(found) is type(self.store_type)

    def test_packs_come_back_exactly(self, tmp_path: Path) -> None:
        """What was put is there, for whoever opens the store later, byte for byte."""
        store = self._open(tmp_path)
        packs = [_pack(tmp_path, data) for data in (b"\0", b"one", bytes(range(256)) * 9999)]
        sizes = _sizes(tmp_path, packs)
        assert store.missing(sizes) == set(packs), "Expected an empty store"
        assert store.missing({}) == set()
        for number, pack in enumerate(packs):
            store.put({pack: tmp_path / pack})
            assert store.missing(sizes) == set(packs[number + 1 :])
        for opened in (store, self._open(tmp_path)):
            assert opened.missing(sizes) == set(), "Expected all packs to be there"
            assert opened.lost(sizes) == set(), "Expected no pack to be lost"
            for pack in packs:
                assert _get(opened, tmp_path, pack) == (tmp_path / pack).read_bytes()

    def test_put_again_changes_nothing(self, tmp_path: Path) -> None:
        """Putting a pack twice is fine, and leaves the file that was put alone."""
        store, pack = self._open(tmp_path), _pack(tmp_path, b"twice")
        for _ in range(2):
            store.put({pack: tmp_path / pack})
            assert (tmp_path / pack).read_bytes() == b"twice"
            assert _get(store, tmp_path, pack) == b"twice"

    def test_many_packs_are_put_and_got_at_once(self, tmp_path: Path) -> None:
        """A call has any number of packs, none too; those that are there already are no trouble."""
        store = self._open(tmp_path)
        packs = [_pack(tmp_path, b"pack %d" % number) for number in range(MANY)]
        store.put({})
        store.get({}, {})
        store.put({pack: tmp_path / pack for pack in packs[::3]})
        store.put({pack: tmp_path / pack for pack in packs})
        sizes = _sizes(tmp_path, packs)
        assert store.missing(sizes) == set(), "Expected all packs to be there"
        target = _folder(tmp_path)
        store.get({pack: target / f"{number}" for number, pack in enumerate(packs)}, sizes)
        found = {file.name: file.read_bytes() for file in target.iterdir()}
        assert found == {f"{number}": b"pack %d" % number for number in range(MANY)}

    def test_transfers_tell_their_bytes(self, tmp_path: Path) -> None:
        """A put tells the bytes of packs that were missing, a get those of all that it wrote."""
        store, told = self._open(tmp_path), [0]

        def advance(nbytes: int) -> None:
            assert nbytes >= 0, "Expected a transfer to advance"
            told[0] += nbytes

        packs = {pack: tmp_path / pack for pack in (_pack(tmp_path, b"1" * n) for n in (999, 7))}
        few, target = dict(list(packs.items())[:1]), _folder(tmp_path)
        for part, expected in ((few, 999), (few, 0), (packs, 7), ({}, 0)):
            told[0] = 0
            store.put(part, advance)
            assert told[0] == expected, f"Expected to be told of {expected} bytes, found {told[0]}"
        told[0] = 0
        store.get({pack: target / pack for pack in packs}, _sizes(tmp_path, packs), advance)
        assert told[0] == 1006, f"Expected to be told of 1006 bytes, found {told[0]}"

    def test_memory_is_bounded(self, tmp_path: Path) -> None:
        """A pack of 64 MiB is not held in memory."""
        store, pack = self._open(tmp_path), _pack(tmp_path, bytes(PACK_BYTES))
        with at_most(self.memory_bound, "a pack of 64 MiB"):
            store.put({pack: tmp_path / pack})
            store.get({pack: tmp_path / "got"}, {pack: PACK_BYTES})
        assert (tmp_path / "got").stat().st_size == PACK_BYTES

    def test_threads_put_and_get_at_once(self, tmp_path: Path) -> None:
        """Threads may put the same pack, and others, through one store and through several."""
        stores = [self._open(tmp_path) for _ in range(4)]
        packs = [_pack(tmp_path, bytes([n]) * (n * 70_001)) for n in range(1, 7)]
        work = [(store, pack) for pack in packs for store in stores * 2]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda job: job[0].put({job[1]: tmp_path / job[1]}), work))
            assert stores[0].missing(_sizes(tmp_path, packs)) == set(), (
                "Expected all packs to be there"
            )
            jobs = [(store, tmp_path / f"{n}", pack) for n, (store, pack) in enumerate(work)]
            for _, folder, _ in jobs:
                folder.mkdir()
            found = list(pool.map(lambda job: _get(job[0], job[1], job[2], tmp_path), jobs))
        assert found == [(tmp_path / pack).read_bytes() for _, pack in work]

    # ---- what goes wrong -------------------------------------------------------------------------

    def test_unknown_pack_is_missing_and_leaves_no_file(self, tmp_path: Path) -> None:
        """A pack that nobody put is a MissingPackError."""
        store, pack = self._open(tmp_path), _pack(tmp_path, b"never put")
        assert store.missing(_sizes(tmp_path, [pack])) == {pack}
        self._get_fails(store, tmp_path, pack, MissingPackError)

    def test_one_bad_pack_among_many_is_an_error(self, tmp_path: Path) -> None:
        """One pack that cannot be got or put fails the call; what is there of others is whole."""
        store, packs = self._open(tmp_path), [_pack(tmp_path, b"%d" % n) for n in range(8)]
        bad = packs[3]
        files = {pack: tmp_path / pack for pack in packs}
        _fails(partial(store.put, {**files, bad: tmp_path / "no-such-file"}))
        sizes = _sizes(tmp_path, packs)
        assert bad in store.missing(sizes), "Expected a pack whose file is missing to be missing"
        store.put({pack: file for pack, file in files.items() if pack != bad})
        target = _folder(tmp_path)
        arriving = {pack: target / pack for pack in packs}
        expect(
            partial(store.get, arriving, sizes), MissingPackError, f"get of 8 packs without {bad}"
        )
        for file in target.iterdir():
            assert file.read_bytes() == files[file.name].read_bytes(), f"Half of {file.name}"

    def test_corrupt_pack_is_an_error_and_leaves_no_file(self, tmp_path: Path) -> None:
        """What is not the pack any more is a PackError; putting the pack again mends it or not."""
        store, pack = self._open(tmp_path), _pack(tmp_path, b"whole" * 1000)
        store.put({pack: tmp_path / pack})
        self.corrupt(tmp_path, pack)
        self._get_fails(store, tmp_path, pack, PackError)
        self._get_fails(self._open(tmp_path), tmp_path, pack, PackError)

    def test_wrong_content_is_never_given_out(self, tmp_path: Path) -> None:
        """A file put under the name of another pack is refused, when it is put or got."""
        store, pack, other = self._open(tmp_path), _pack(tmp_path, b"one"), _pack(tmp_path, b"two")
        try:
            store.put({pack: tmp_path / other})
        except (PackError, StoreError):
            assert store.missing(_sizes(tmp_path, [pack])) == {pack}
        else:
            self._get_fails(store, tmp_path, pack, PackError)

    def test_failed_put_leaves_nothing(self, tmp_path: Path) -> None:
        """A put whose file cannot be read fails, the pack stays missing, and can be put later."""
        store, pack = self._open(tmp_path), _pack(tmp_path, b"whole")
        _fails(partial(store.put, {pack: tmp_path / "no-such-file"}))
        assert store.missing(_sizes(tmp_path, [pack])) == {pack}
        store.put({pack: tmp_path / pack})
        assert _get(store, tmp_path, pack) == b"whole"

    def test_invalid_names_are_refused_and_touch_nothing(self, tmp_path: Path) -> None:
        """What is not 64 lower-case hex digits is a StoreError before any path is made of it."""
        folder = tmp_path / "nested" / "deep"  # so that a path that leaves it is seen
        folder.mkdir(parents=True)
        store, pack = self._open(folder), _pack(tmp_path, b"kept")
        store.put({pack: tmp_path / pack})
        before = _tree(tmp_path)
        for name in INVALID:
            calls: dict[str, Callable[[], object]] = {
                "put": partial(store.put, {pack: tmp_path / pack, name: tmp_path / pack}),
                "get": partial(
                    store.get, {pack: tmp_path / "got", name: tmp_path / "too"}, {pack: 4, name: 4}
                ),
                "missing": partial(store.missing, {pack: 4, name: 4}),
            }
            for verb, call in calls.items():
                expect(call, StoreError, f"{verb} of a pack named {name!r}")
        assert _tree(tmp_path) == before, "Expected nothing to be written"

    def test_invalid_urls_are_refused(self) -> None:
        """URLs that are not valid, other schemes too, are a StoreError."""
        for url in (*self.bad_urls, "", "no-such-scheme://x", f"{self.store_type.scheme}"):
            expect(partial(self.store_type.open, url), StoreError, f"the URL {url!r}")

    # ---- what the checks are made of -------------------------------------------------------------

    def _open(self, folder: Path) -> Store:
        return self.store_type.open(self.url(folder))

    def _get_fails(self, store: Store, folder: Path, pack: str, error: type[ThetaError]) -> None:
        target = _folder(folder)
        sizes = _sizes(folder, [pack])
        expect(partial(store.get, {pack: target / "got"}, sizes), error, f"get of {pack}")
        left = [path.name for path in target.iterdir()]
        assert not left, f"Expected no file after a failed get, found {left}"


def _pack(folder: Path, data: bytes) -> str:
    name = hashlib.sha256(data).hexdigest()
    (folder / name).write_bytes(data)
    return name


def _sizes(folder: Path, packs: Iterable[str]) -> dict[str, int]:
    return {pack: (folder / pack).stat().st_size for pack in packs}


def _get(store: Store, folder: Path, pack: str, packs: Path | None = None) -> bytes:
    file = folder / "got"
    store.get({pack: file}, _sizes(packs or folder, [pack]))
    data = file.read_bytes()
    file.unlink()
    return data


def _folder(folder: Path) -> Path:
    target = folder / "target"
    target.mkdir(exist_ok=True)
    return target


def _fails(put: Callable[[], object]) -> None:
    try:
        put()
    except (ThetaError, OSError):
        return
    raise AssertionError("Expected an error for a file that does not exist")


def _tree(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path): path.read_bytes() for path in files}
