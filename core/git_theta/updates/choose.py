"""Chooses how a buffer is stored: the smallest update that proves itself; dense is the floor.

Every installed update type is asked, the builtin ones as any other: first for a guess, from
samples; the most promising then encode, and what decodes to the exact bytes is compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import islice
from typing import NamedTuple

from git_theta.digests import digest_of
from git_theta.dtypes import BITS
from git_theta.errors import MissingPackError, PackError
from git_theta.plugins import Plugins
from git_theta.source import Source
from git_theta.storage.local import LocalStore
from git_theta.storage.payload import MAX_PARAMS, BufferId
from git_theta.updates.grounds import MAX_GROUNDS, Bases, Candidate, Ground, Grounds
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
    case = _Case(store, plugins, buffer, new, bases)
    found = _forced(case, form) if form.name else None
    for lesson in lessons:
        found = found or _taught(case, lesson)
    return found or _surveyed(case) or Choice("dense", dense)


class _Case:
    """A buffer for which an update is looked for; parameters as of :func:`choose`."""

    def __init__(
        self, store: LocalStore, plugins: Plugins, buffer: BufferId, new: Numbers, bases: Bases
    ) -> None:
        self.store, self.plugins = store, plugins
        self.buffer, self.new, self.bases = buffer, new, bases
        self._finder = Grounds(store, plugins, buffer, new.data.size)

    @cached_property
    def floor(self) -> int:
        """About how many bytes dense would take."""
        return _guess(self.plugins, Part(self.new.dtype, self.new.data))

    @property
    def enough(self) -> int:
        """What an update may take that is worth a base."""
        return int(WORTH * self.floor)

    def grounds(self, candidates: Iterable[Candidate]) -> list[Ground]:
        """What can be stood on of some candidates."""
        return list(islice(self._finder.find(candidates), MAX_GROUNDS))


def _surveyed(case: _Case) -> Choice | None:
    """The smallest update after everything was asked; None where dense is smaller."""
    plugins, floor = case.plugins, case.floor
    offers = [o for o in plugins.offers("theta_update_types").values() if o.name != "dense"]
    grounds = case.grounds(case.bases.near)
    if not grounds and case.bases.far is tuple and all(o.value.max_bases for o in offers):
        return None
    survey = Survey(plugins, case.new, int(ENOUGH * floor))
    survey.ask_without_bases(offers)
    survey.ask_single(offers, grounds)
    if (survey.best() or floor) > FAR * floor:
        near = {ground.buffer for ground in grounds}
        far = [one for one in case.grounds(case.bases.far()) if one.buffer not in near]
        survey.ask_single(offers, far)
        grounds += far
    survey.ask_several(offers, grounds)
    best, paid = None, None
    for trial in sorted(survey.trials, key=lambda trial: trial.guess)[:MAX_TRIALS]:
        most = best.nbytes if best else case.enough
        if trial.guess >= most:
            break
        made = _make(case, trial)
        if made and made.nbytes < most:
            best, paid = made, trial
    if best is None or paid is None:
        return None
    return best.choice._replace(lesson=_lesson(paid, best.choice, floor))


def _lesson(paid: Trial, choice: Choice, floor: int) -> Lesson | None:
    """What a choice teaches; None where it stands on what is in no version."""
    origins = [ground.origin for ground in paid.grounds if ground.buffer in choice.bases]
    known = frozenset(origin for origin in origins if origin is not None)
    return Lesson(choice.name, known, paid.guess / floor) if len(known) == len(origins) else None


def _taught(case: _Case, lesson: Lesson) -> Choice | None:
    """The update that other buffers of the file suggest; None where it leaves more than there."""
    bases = case.bases
    beyond = max(lesson.origins) not in {candidate.origin for candidate in bases.near}
    candidates = [
        candidate
        for candidate in (*bases.near, *(bases.far() if beyond else ()))
        if candidate.origin in lesson.origins
    ]
    grounds = case.grounds(candidates)
    if not grounds:
        return None
    survey = Survey(case.plugins, case.new, 0)
    survey.ask(case.plugins.find("theta_update_types", lesson.name), grounds)
    for trial in survey.trials:
        if lesson.holds(trial.guess, case.floor):
            made = _make(case, trial)
            if made and made.nbytes < case.enough:
                return made.choice
    return None


def _forced(case: _Case, form: Form) -> Choice | None:
    """The smallest update of one type, however large; None: it gave none that proved itself."""
    offer = case.plugins.find("theta_update_types", form.name)
    grounds = case.grounds(case.bases.near)
    if form.update:
        first = [ground for ground in grounds if ground.buffer == case.bases.near[0].buffer]
        trials = [Trial(0, offer, first)]
    else:
        if not grounds and offer.value.max_bases:
            grounds = case.grounds(case.bases.far())
        survey = Survey(case.plugins, case.new, 0)
        survey.ask_without_bases([offer])
        survey.ask_single([offer], grounds)
        survey.ask_several([offer], grounds)
        trials = sorted(
            (trial for trial in survey.trials if trial.offer.name == form.name),
            key=lambda trial: trial.guess,
        )
    made = (_make(case, trial, form.update) for trial in trials[:MAX_TRIALS])
    best = min((one for one in made if one), key=lambda one: one.nbytes, default=None)
    return best.choice if best else None


def _make(case: _Case, trial: Trial, told: Update | None = None) -> _Made | None:
    """The update of a trial; None: there is none, or the type failed."""
    try:
        return _prove(case, trial, told)
    except OSError:  # the disk is full, which is no plugin's fault
        raise
    except (PackError, MissingPackError):  # a base is damaged
        return None
    except Exception as error:
        report(case.plugins, trial.offer, error)
        return None


def _prove(case: _Case, trial: Trial, told: Update | None) -> _Made | None:
    """An update that a pack can hold and that decodes to the exact bytes; None: there is none."""
    update_type, grounds = trial.offer.value, list(trial.grounds)
    new, buffer = case.new, case.buffer
    found = told or update_type.encode(new, [ground.numbers for ground in grounds])
    if found is None or not _fits(found, new.data.size):
        return None
    if found.uses is not None:
        grounds = [grounds[number] for number in found.uses]
    if len(grounds) > update_type.max_bases:
        return None
    parts = tuple(part._replace(data=hold(part.data, case.store.packs)) for part in found.parts)
    update = Update(parts, found.params)
    nbytes = len(found.params) + sum(_guess(case.plugins, part) for part in parts)
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
