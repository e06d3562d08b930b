"""Chooses how a buffer is stored: the smallest update that proves itself; dense is the floor.

Every installed update type is asked, the builtin ones as any other: first for a guess, from
samples; the most promising then encode, and what decodes to the exact bytes is compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import NamedTuple

from git_theta.digests import digest_of
from git_theta.dtypes import BITS
from git_theta.errors import MissingPackError, PackError
from git_theta.plugins import Plugins
from git_theta.source import Source
from git_theta.storage.local import LocalStore
from git_theta.storage.payload import MAX_PARAMS, BufferId
from git_theta.updates.grounds import MAX_GROUNDS, Bases, Ground, Grounds
from git_theta.updates.hold import STEP, computed, hold
from git_theta.updates.interface import Numbers, Part, Update
from git_theta.updates.lessons import Lesson
from git_theta.updates.sampling import guess_of, windows
from git_theta.updates.trials import Survey, Trial, affordable, report

MAX_PARTS = 16
"""Most parts of an update."""
MAX_TRIALS = 4
"""Most updates that are encoded before one is taken."""
ENOUGH = 0.01
"""What leaves no more than this part of what dense would take is not compared with much else."""
FAR = 0.25
"""A near base is good enough if it leaves no more than this part of what dense would take."""
WORTH = 0.98
"""What an update may take of what dense would: one that saves less is not worth a base."""
PREFERRED = "planes"
"""The serializer of parts that do not name one."""


class Choice(NamedTuple):
    """An update and what it stands on."""

    name: str
    """Name of the update type."""
    update: Update
    bases: tuple[BufferId, ...] = ()
    depth: int = 1
    """Payloads to read, this one included."""
    base_cost: int = 0
    """Stored bytes that are read to decode the bases."""
    lesson: Lesson | None = None
    """What it teaches of other buffers, where everything was looked at."""


class Form(NamedTuple):
    """How a buffer shall be stored, where a user said so."""

    name: str = ""
    """Name of the update type; "": the kernel chooses."""
    update: Update | None = None
    """The very update, which stands on the first of the bases; None: the type finds one."""


CHOSEN = Form()
"""The form of whatever a user said nothing about."""


class _Made(NamedTuple):
    """An update that proved itself."""

    nbytes: int
    """Bytes that it will be stored in, all but exactly."""
    choice: Choice


def choose(
    store: LocalStore,
    plugins: Plugins,
    buffer: BufferId,
    new: Numbers,
    bases: Bases,
    form: Form = CHOSEN,
    lessons: Sequence[Lesson] = (),
) -> Choice:
    """The update under which a buffer is stored.

    An update type that raises is not asked again, and is one of the plugins' failures: the buffer
    is stored all the same.

    Parameters
    ----------
    store
        Where bases are read.
    plugins
        Where update types are found.
    buffer, new
        The buffer and its numbers.
    bases
        Buffers that it may resemble.
    form
        How it shall be stored; where that is not possible, the smallest update is chosen.
    lessons
        What paid for other buffers of its file, to be tried before everything is.
    """
    dense = plugins.update_type("dense").encode(new, ())
    assert dense is not None
    if form.name == "dense":
        return Choice("dense", dense)
    finder = Grounds(store, plugins, buffer, new.data.size)
    forced = _forced(store, plugins, buffer, new, bases, form, finder) if form.name else None
    if forced:
        return forced
    offers = [o for o in plugins.offers("theta_update_types").values() if o.name != "dense"]
    floor = _guess(plugins, Part(new.dtype, new.data))
    for lesson in lessons:
        taught = _taught(store, plugins, buffer, new, bases, lesson, floor, finder)
        if taught:
            return taught
    grounds = _first(finder.find(bases.near))
    if not grounds and bases.far is tuple and all(o.value.max_bases for o in offers):
        return Choice("dense", dense)
    survey = Survey(plugins, new, int(ENOUGH * floor))
    survey.ask_without_bases(offers)
    survey.ask_single(offers, grounds)
    if (survey.best() or floor) > FAR * floor:
        near = {ground.buffer for ground in grounds}
        found = _first(finder.find(bases.far()))
        far = [ground for ground in found if ground.buffer not in near]
        survey.ask_single(offers, far)
        grounds += far
    survey.ask_several(offers, grounds)
    best, paid = _Made(int(WORTH * floor), Choice("dense", dense)), None
    for trial in sorted(survey.trials, key=lambda trial: trial.guess)[:MAX_TRIALS]:
        if trial.guess >= best.nbytes:
            break
        made = _make(store, plugins, trial, buffer, new)
        if made and made.nbytes < best.nbytes:
            best, paid = made, trial
    if paid is None:
        return best.choice
    return best.choice._replace(lesson=_lesson(paid, best.choice, floor))


def _lesson(paid: Trial, choice: Choice, floor: int) -> Lesson | None:
    """What a choice teaches; None where it stands on what is in no version."""
    origins = [ground.origin for ground in paid.grounds if ground.buffer in choice.bases]
    known = frozenset(origin for origin in origins if origin is not None)
    return Lesson(choice.name, known, paid.guess / floor) if len(known) == len(origins) else None


def _taught(
    store: LocalStore,
    plugins: Plugins,
    buffer: BufferId,
    new: Numbers,
    bases: Bases,
    lesson: Lesson,
    floor: int,
    finder: Grounds,
) -> Choice | None:
    """The update that other buffers of the file suggest; None where it leaves more than there."""
    beyond = max(lesson.origins) not in {candidate.origin for candidate in bases.near}
    candidates = [
        candidate
        for candidate in (*bases.near, *(bases.far() if beyond else ()))
        if candidate.origin in lesson.origins
    ]
    grounds = _first(finder.find(candidates))
    if not grounds:
        return None
    survey = Survey(plugins, new, 0)
    survey.ask(plugins.find("theta_update_types", lesson.name), grounds)
    for trial in survey.trials:
        if lesson.holds(trial.guess, floor):
            made = _make(store, plugins, trial, buffer, new)
            if made and made.nbytes < int(WORTH * floor):
                return made.choice
    return None


def _forced(
    store: LocalStore,
    plugins: Plugins,
    buffer: BufferId,
    new: Numbers,
    bases: Bases,
    form: Form,
    finder: Grounds,
) -> Choice | None:
    """The smallest update of one type, however large; None: it gave none that proved itself."""
    offer = plugins.find("theta_update_types", form.name)
    grounds = _first(finder.find(bases.near))
    if form.update:
        first = [ground for ground in grounds if ground.buffer == bases.near[0].buffer]
        trials = [Trial(0, offer, first)]
    else:
        if not grounds and offer.value.max_bases:
            grounds = _first(finder.find(bases.far()))
        survey = Survey(plugins, new, 0)
        survey.ask_without_bases([offer])
        survey.ask_single([offer], grounds)
        survey.ask_several([offer], grounds)
        trials = sorted(
            (trial for trial in survey.trials if trial.offer.name == form.name),
            key=lambda trial: trial.guess,
        )
    made = (_make(store, plugins, trial, buffer, new, form.update) for trial in trials[:MAX_TRIALS])
    best = min((one for one in made if one), key=lambda one: one.nbytes, default=None)
    return best.choice if best else None


def _first(grounds: Iterable[Ground]) -> list[Ground]:
    return list(islice(grounds, MAX_GROUNDS))


def _make(
    store: LocalStore,
    plugins: Plugins,
    trial: Trial,
    buffer: BufferId,
    new: Numbers,
    told: Update | None = None,
) -> _Made | None:
    try:
        return _prove(store, plugins, trial, buffer, new, told)
    except OSError:  # the disk is full, which is no plugin's fault
        raise
    except (PackError, MissingPackError):  # a base is damaged
        return None
    except Exception as error:
        report(plugins, trial.offer, error)
        return None


def _prove(
    store: LocalStore,
    plugins: Plugins,
    trial: Trial,
    buffer: BufferId,
    new: Numbers,
    told: Update | None,
) -> _Made | None:
    """An update that a pack can hold and that decodes to the exact bytes; None: there is none."""
    update_type, grounds = trial.offer.value, list(trial.grounds)
    found = told or update_type.encode(new, [ground.numbers for ground in grounds])
    if found is None or not _fits(found, new.data.size):
        return None
    if found.uses is not None:
        grounds = [grounds[number] for number in found.uses]
    if len(grounds) > update_type.max_bases:
        return None
    parts = tuple(part._replace(data=hold(part.data, store.packs)) for part in found.parts)
    update = Update(parts, found.params)
    nbytes = len(found.params) + sum(_guess(plugins, part) for part in parts)
    if not affordable(grounds, nbytes, new.data.size):
        return None
    old = [ground.base.held() for ground in grounds]
    decoded = update_type.decode(update, old, buffer.dtype, new.data.size)
    if decoded.size != new.data.size or digest_of(computed(decoded, STEP)) != buffer.digest:
        return None
    payloads = {key: cost for ground in grounds for key, cost in ground.payloads.items()}
    bases = tuple(ground.buffer for ground in grounds)
    cost = sum(payloads.values())
    return _Made(nbytes, Choice(trial.offer.name, update, bases, 1 + len(payloads), cost))


def _fits(update: Update, nbytes: int) -> bool:
    """Whether a pack can hold an update, and that may pay for a buffer of ``nbytes`` bytes."""
    valid = all(
        part.dtype in BITS and part.data.size and not part.data.size * 8 % BITS[part.dtype]
        for part in update.parts
    )
    few = 0 < len(update.parts) <= MAX_PARTS and len(update.params) <= MAX_PARAMS
    return valid and few and sum(part.data.size for part in update.parts) <= 2 * nbytes


def _guess(plugins: Plugins, part: Part) -> int:
    """About how many bytes a part is stored in; exactly, if it is short."""
    serializer = plugins.serializer(part.serializer or PREFERRED)
    data: Source = part.data
    samples = [data.read(*window) for window in windows(data.size, part.dtype)]
    return guess_of(samples, data.size, part.dtype, serializer)
