"""What update types guess, from samples, of a buffer: which of them are worth trying."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from git_theta.errors import MissingPackError, PackError
from git_theta.plugins import Failure, Offer, Plugins
from git_theta.storage.payload import MAX_DEPTH, BufferId
from git_theta.updates.grounds import Ground
from git_theta.updates.interface import Numbers

EXTRA_COST = 4096
"""Bytes that decoding may read beyond twice the buffer's own length."""
NEAREST = 2
"""Bases that types other than delta are asked about, of those that a difference leaves least of."""


class Trial(NamedTuple):
    """An update that may pay."""

    guess: int
    """Bytes that it would be stored in."""
    offer: Offer
    grounds: Sequence[Ground]


class Survey:
    """What the installed update types guess of one buffer.

    Parameters
    ----------
    plugins, new
        Who is asked, and about what.
    enough
        Bytes that are few enough: what costs more to ask than a difference does is asked no more.
    """

    def __init__(self, plugins: Plugins, new: Numbers, enough: int) -> None:
        self.trials: list[Trial] = []
        self._plugins, self._new, self._enough = plugins, new, enough
        self._differences: list[Trial] = []
        self._asked: set[tuple[str, BufferId]] = set()

    def best(self) -> int | None:
        """The smallest guess; None where there is none."""
        return min((trial.guess for trial in self.trials if trial.guess), default=None)

    def ask_without_bases(self, offers: Iterable[Offer]) -> None:
        """Ask types that stand on nothing."""
        for offer in offers:
            if not offer.value.max_bases:
                self._ask(offer, ())

    def ask_single(self, offers: Iterable[Offer], grounds: Sequence[Ground]) -> None:
        """Ask types that stand on one base about further ones; most about the nearest alone."""
        delta = self._plugins.find("theta_update_types", "delta")
        for ground in grounds:
            self._differences += self._ask(delta, [ground])
        nearest = sorted(self._differences, key=lambda trial: trial.guess)[:NEAREST]
        for offer in offers:
            for difference in nearest if offer.value.max_bases == 1 else ():
                key = (offer.name, difference.grounds[0].buffer)
                if offer.name != "delta" and key not in self._asked and not self._is_enough():
                    self._asked.add(key)
                    self._ask(offer, difference.grounds)
            for ground in grounds if offer.value.other_dtypes else ():
                if (offer.name, ground.buffer) not in self._asked and not self._is_enough():
                    self._asked.add((offer.name, ground.buffer))
                    self._ask(offer, [ground])

    def ask_several(self, offers: Iterable[Offer], grounds: Sequence[Ground]) -> None:
        """Ask types that may stand on several bases."""
        for offer in offers:
            if offer.value.max_bases > 1 and grounds and not self._is_enough():
                self._ask(offer, grounds)

    def ask(self, offer: Offer, grounds: Sequence[Ground]) -> None:
        """Ask one type about these bases: together where it takes several, else one by one."""
        for some in [grounds] if offer.value.max_bases > 1 else [[ground] for ground in grounds]:
            self._ask(offer, some)

    def _is_enough(self) -> bool:
        best = self.best()
        return best is not None and best <= self._enough

    def _ask(self, offer: Offer, grounds: Sequence[Ground]) -> list[Trial]:
        """What a type guesses; nothing where it fails."""
        other = offer.value.other_dtypes
        fitting = [g for g in grounds if (g.numbers.dtype != self._new.dtype) == other]
        if (grounds and not fitting) or _what(offer) in {
            failure.what for failure in self._plugins.failures
        }:
            return []
        try:
            guess = offer.value.estimate(self._new, [ground.numbers for ground in fitting])
        except (PackError, MissingPackError):  # a base is damaged
            return []
        except Exception as error:  # whatever a plugin does, the buffer is kept
            report(self._plugins, offer, error)
            return []
        trial = Trial(guess, offer, fitting)
        if offer.value.max_bases > 1 or affordable(fitting, guess, self._new.data.size):
            self.trials.append(trial)
        return [trial]


def affordable(grounds: Sequence[Ground], nbytes: int, length: int) -> bool:
    """Whether an update of ``nbytes`` bytes on these keeps what reading a buffer may cost."""
    payloads = {key: cost for ground in grounds for key, cost in ground.payloads.items()}
    margin = nbytes // 16  # what it will take is a guess
    cost = sum(payloads.values()) + nbytes + margin
    return len(payloads) < MAX_DEPTH and cost <= 2 * length + EXTRA_COST


def _what(offer: Offer) -> str:
    return f"update type {offer.name}"


def report(plugins: Plugins, offer: Offer, error: Exception) -> None:
    """Count a type that raised among the plugins' failures; it is not asked again."""
    plugins.failures.append(Failure(offer.plugin, _what(offer), error))
