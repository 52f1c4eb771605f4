"""The lock of field numbers: append-only, so that a number never changes its meaning on the wire.

A field that disappears from the model keeps its entry, and its number becomes `reserved`.
"""

import copy
import re

FIRST_COMMAND = 100

_MESSAGE = re.compile(r"^message (\w+) \{", re.MULTILINE)
_FIELD = re.compile(r"^ +(?:optional |repeated )?[\w.]+(?:<[^>]+>)? (\w+) = (\d+)[ ;]", re.MULTILINE)
_RESERVED_NUMBERS = re.compile(r"^ +reserved (\d+(?:, \d+)*);", re.MULTILINE)


class LockError(Exception):
    """The lock contradicts itself or what was published."""


def extended(lock: dict, commands: list[str], messages: dict[str, list[str]]) -> dict:
    """The lock with a number for every command and every field; what it holds already stays."""
    verify(lock)
    result = copy.deepcopy(lock) if lock else {"commands": {}, "messages": {}}
    _assign(result["commands"], commands, FIRST_COMMAND)
    for message, fields in messages.items():
        _assign(result["messages"].setdefault(message, {}), fields, 1)
    return result


def _assign(numbers: dict[str, int], names: list[str], first: int) -> None:
    following = max(numbers.values(), default=first - 1) + 1
    for name in names:
        if name not in numbers:
            numbers[name] = following
            following += 1


def verify(lock: dict) -> None:
    """Every number is used once, and none is below its range."""
    if not lock:
        return
    tables = [("Command", lock["commands"], FIRST_COMMAND)]
    tables += [(message, numbers, 1) for message, numbers in lock["messages"].items()]
    for message, numbers, first in tables:
        if len(set(numbers.values())) != len(numbers):
            raise LockError(f"{message}: the lock uses a number twice")
        for name, number in numbers.items():
            if number < first or 19000 <= number <= 19999:
                raise LockError(f"{message}.{name}: {number} is no legal number")


def published(proto: str) -> dict[str, dict[str | None, set[int]]]:
    """The numbers that a proto file uses: message -> field (None: reserved) -> numbers.

    Of `Command` those of commands: what qualifies any command stands below them, in the generator itself.
    """
    starts = [(match.start(), match.group(1)) for match in _MESSAGE.finditer(proto)]
    ends = [start for start, _ in starts[1:]] + [len(proto)]
    result: dict[str, dict[str | None, set[int]]] = {}
    for (start, name), end in zip(starts, ends):
        text = proto[start:end]
        numbers: dict[str | None, set[int]] = {
            match.group(1): {int(match.group(2))} for match in _FIELD.finditer(text)
        }
        reserved = {int(n) for match in _RESERVED_NUMBERS.finditer(text) for n in match.group(1).split(", ")}
        if reserved:
            numbers[None] = reserved
        if name == "Command":
            numbers = {field: used for field, used in numbers.items() if min(used) >= FIRST_COMMAND}
        result[name] = numbers
    return result


def verify_keeps(lock: dict, proto: str) -> None:
    """The lock still holds every number that the proto file published, under the same name."""
    for message, fields in published(proto).items():
        numbers = lock.get("commands", {}) if message == "Command" else lock.get("messages", {}).get(message, {})
        for name, used in fields.items():
            if name is None:
                lost = used - set(numbers.values())
                if lost:
                    raise LockError(f"{message}: the lock lost the reserved numbers {sorted(lost)}")
            elif name not in numbers:
                raise LockError(f"{message}.{name}: the lock lost number {min(used)}")
            elif numbers[name] not in used:
                raise LockError(f"{message}.{name}: the lock changes number {min(used)} to {numbers[name]}")
