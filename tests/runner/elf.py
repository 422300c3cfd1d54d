"""What an ELF file says to the loader: enough to check a program for a machine that is not here."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Elf", "Segment", "read_elf"]

PT_LOAD, PT_DYNAMIC, PT_INTERP, PT_GNU_STACK, PT_GNU_RELRO = 1, 2, 3, 0x6474E551, 0x6474E552
DT_NEEDED, DT_HASH, DT_STRTAB, DT_SYMTAB, DT_TEXTREL, DT_FLAGS, DT_GNU_HASH = 1, 4, 5, 6, 22, 30, 0x6FFFFEF5
DT_FLAGS_1, DT_VERNEED, DT_VERNEEDNUM, DT_STRSZ = 0x6FFFFFFB, 0x6FFFFFFE, 0x6FFFFFFF, 10


@dataclass(frozen=True)
class Segment:
    kind: int
    flags: int
    offset: int
    address: int
    size: int
    align: int


@dataclass(frozen=True)
class Elf:
    """``undefined`` are the functions and objects it takes from libraries, ``versions`` those of glibc it asks for."""

    bits: int
    kind: int
    machine: int
    segments: tuple[Segment, ...]
    interpreter: str
    dynamic: tuple[tuple[int, int], ...]
    needed: tuple[str, ...]
    undefined: frozenset[str]
    versions: frozenset[str]

    def all(self, kind: int) -> list[Segment]:
        return [segment for segment in self.segments if segment.kind == kind]


def _text(data: bytes, at: int) -> str:
    return data[at : data.index(b"\0", at)].decode()


def read_elf(path: Path) -> Elf:
    data = path.read_bytes()
    assert data[:4] == b"\x7fELF" and data[5] == 1
    wide = data[4] == 2
    kind, machine = struct.unpack_from("<HH", data, 16)
    start = struct.unpack_from("<Q" if wide else "<I", data, 32 if wide else 28)[0]
    size, count = struct.unpack_from("<HH", data, 54 if wide else 42)
    segments = []
    for at in range(start, start + size * count, size):
        if wide:
            kind_, flags, offset, address, _, length, _, align = struct.unpack_from("<IIQQQQQQ", data, at)
        else:
            kind_, offset, address, _, length, _, flags, align = struct.unpack_from("<IIIIIIII", data, at)
        segments.append(Segment(kind_, flags, offset, address, length, align))

    def place(address: int) -> int:
        (held,) = [s for s in segments if s.kind == PT_LOAD and s.address <= address < s.address + s.size]
        return address - held.address + held.offset

    (described,) = [segment for segment in segments if segment.kind == PT_DYNAMIC]
    entry = "<qQ" if wide else "<iI"
    pairs = [
        struct.unpack_from(entry, data, at)
        for at in range(described.offset, described.offset + described.size, struct.calcsize(entry))
    ]
    dynamic = tuple((tag & 0xFFFFFFFF, value) for tag, value in pairs if tag)
    one = dict(dynamic)
    strings = place(one[DT_STRTAB])
    symbols, step = place(one[DT_SYMTAB]), 24 if wide else 16
    undefined = set()
    # The table of symbols ends where the names begin, or the hash tables: whatever follows it.
    ends = [place(one[tag]) for tag in (DT_STRTAB, DT_HASH, DT_GNU_HASH) if tag in one]
    versioned = place(one[0x6FFFFFF0]) if 0x6FFFFFF0 in one else len(data)
    end = min(found for found in (*ends, versioned) if found > symbols)
    for at in range(symbols + step, end - step + 1, step):
        name, section = (
            struct.unpack_from("<I", data, at)[0],
            struct.unpack_from("<H", data, at + (6 if wide else 14))[0],
        )
        if section == 0:
            undefined.add(_text(data, strings + name))
    versions = set()
    at = place(one[DT_VERNEED]) if DT_VERNEED in one else 0
    for _ in range(one.get(DT_VERNEEDNUM, 0)):
        _, auxiliaries, _, first, following = struct.unpack_from("<HHIII", data, at)
        inner = at + first
        for _ in range(auxiliaries):
            _, _, _, name, inner_next = struct.unpack_from("<IHHII", data, inner)
            versions.add(_text(data, strings + name))
            inner += inner_next
        at += following
    interpreters = [segment for segment in segments if segment.kind == PT_INTERP]
    return Elf(
        bits=64 if wide else 32,
        kind=kind,
        machine=machine,
        segments=tuple(segments),
        interpreter=_text(data, interpreters[0].offset) if interpreters else "",
        dynamic=dynamic,
        needed=tuple(_text(data, strings + value) for tag, value in dynamic if tag == DT_NEEDED),
        undefined=frozenset(undefined),
        versions=frozenset(versions),
    )
