"""How much may still be spent: reserve before sending, settle or charge afterwards."""

from __future__ import annotations

import math
import re
from decimal import Decimal

from pipeline.errors import UsageError

_AMOUNT = re.compile(r"[0-9]{1,12}(\.[0-9]{1,18})?")
_LEAST_USD = Decimal("0.000001")
_MOST_USD = Decimal(1_000_000_000)
"""Sums of nano-USD must fit the 64-bit integers of the ledger."""


class Budget:
    """Spent, unknown and reserved nano-USD against a cap.

    As long as no attempt costs more than its reservation, `spent + unknown + reserved` never exceeds the cap. One that
    does is recorded in full, and nothing more is reserved until the sum fits again.
    """

    __slots__ = ("cap", "reserved", "soft", "spent", "unknown", "warned")

    def __init__(self, cap: int | None, *, soft: int | None = None, spent: int = 0, unknown: int = 0) -> None:
        self.cap = cap
        """The most that may be recorded, in nano-USD; None where there is no limit."""
        self.soft = soft
        """Nano-USD from which `crossed_soft` warns."""
        self.warned = 0
        """The soft limit that was warned of before, in this run or an earlier one; 0 where none was."""
        self.spent = spent
        """Cost of answered attempts."""
        self.unknown = unknown
        """Reservations of attempts whose outcome will never be known; an upper bound of what they cost."""
        self.reserved = 0
        """The most that the attempts in flight can cost."""

    def __repr__(self) -> str:
        return f"<Budget spent={self.spent} unknown={self.unknown} reserved={self.reserved} cap={self.cap}>"

    @property
    def remaining(self) -> int | None:
        """What may still be reserved; 0 where the cap is exceeded, None where there is no cap."""
        if self.cap is None:
            return None
        return max(0, self.cap - self.spent - self.unknown - self.reserved)

    def fits(self, amount: int) -> bool:
        """Whether `amount` can be reserved now."""
        return self.cap is None or self.spent + self.unknown + self.reserved + amount <= self.cap

    def reserve(self, amount: int) -> None:
        """Set `amount` aside for an attempt.

        Raises:
            ValueError: It does not fit, or it is negative.
        """
        if amount < 0 or not self.fits(amount):
            raise ValueError(f"{amount} nano-USD cannot be reserved: {self!r}")
        self.reserved += amount

    def settle(self, reserve: int, cost: int) -> None:
        """The attempt was answered: book its cost in place of its reservation, in full even where it is higher."""
        self.release(reserve)
        self.spent += cost

    def charge_unknown(self, reserve: int) -> None:
        """The attempt may have been billed: its whole reservation becomes unknown spend."""
        self.release(reserve)
        self.unknown += reserve

    def release(self, reserve: int) -> None:
        """The attempt was certainly not billed.

        Raises:
            ValueError: More than is reserved.
        """
        if not 0 <= reserve <= self.reserved:
            raise ValueError(f"{reserve} nano-USD are not reserved: {self!r}")
        self.reserved -= reserve

    def crossed_soft(self) -> bool:
        """Whether the soft limit is reached, unless it or a higher one was warned of before; True only once."""
        if self.soft is None or self.soft <= self.warned or self.spent + self.unknown < self.soft:
            return False
        self.warned = self.soft
        return True


def parse_usd(value: str | float) -> int:
    """Return a budget given in USD as nano-USD, rounded down.

    Args:
        value: A plain decimal number, from $0.000001 to $1,000,000,000: no sign, no exponent, no currency.

    Raises:
        UsageError: Anything else, such as 0, -1, NaN, `1e400`, `$5` or `5 USD`.
    """
    amount = _decimal(value)
    if amount is None or not _LEAST_USD <= amount <= _MOST_USD:
        raise UsageError(
            f"{str(value)[:40]!r} is no budget: write US dollars as a plain number like 5 or 0.50, at least 0.000001",
            code="invalid_budget",
        )
    return int(amount * 1_000_000_000)


def _decimal(value: str | float) -> Decimal | None:
    if isinstance(value, str):
        return Decimal(value) if _AMOUNT.fullmatch(value) else None
    if isinstance(value, bool):
        return None
    return Decimal(value) if isinstance(value, int) else Decimal(repr(value)) if math.isfinite(value) else None
