"""Compound files (OLE), made for tests: the files of a folder as one, each in sectors of 512 bytes."""

import struct
from collections.abc import Mapping

SECTOR, NONE, END, IN_FAT = 512, 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD


def compound(files: Mapping[str, bytes]) -> bytes:
    """Files by their paths ("folder/name") as a compound file; small ones share one, as the format asks."""
    entries = [["Root Entry", 5, NONE, END, 0]]  # name, kind, first child, first sector, size
    nexts, children = {0: NONE}, {"": 0}
    large, small = Sectors(SECTOR), Sectors(64)

    def entry(path: str, kind: int) -> int:
        parent, _, name = path.rpartition("/")
        above = children[parent] if parent in children else entry(parent, 1)
        number = len(entries)
        entries.append([name, kind, NONE, END, 0])
        nexts[number], entries[above][2] = entries[above][2], number
        if kind == 1:
            children[path] = number
        return number

    for path, content in files.items():
        where = large if len(content) >= 4096 else small
        entries[entry(path, 2)][3:] = [where.put(content), len(content)]
    shared = b"".join(small.sectors)
    entries[0][3:] = [large.put(shared), len(shared)]
    minis = large.put(struct.pack(f"<{len(small.chain)}I", *small.chain))
    directory = large.put(b"".join(_entry(*one, nexts[number]) for number, one in enumerate(entries)))
    count = 1
    while len(large.chain) + count > count * (SECTOR // 4):
        count += 1
    fat = [*large.chain, *[IN_FAT] * count]
    table = struct.pack(f"<{len(fat)}I", *fat).ljust(count * SECTOR, b"\xff")
    places = [*range(len(large.sectors), len(large.sectors) + count), *[NONE] * (109 - count)]
    head = struct.pack("<8s16sHHHHH6s", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", b"", 0x3E, 3, 0xFFFE, 9, 6, b"")
    head += struct.pack("<9I", 0, count, directory, 0, 4096, minis, -(-4 * len(small.chain) // SECTOR), END, 0)
    return head + struct.pack("<109I", *places) + b"".join(large.sectors) + table


class Sectors:
    """Sectors of one size, and which one follows on each."""

    def __init__(self, size: int) -> None:
        self.size, self.sectors, self.chain = size, list[bytes](), list[int]()

    def put(self, content: bytes) -> int:
        """Put a file away; its first sector."""
        if not content:
            return END
        first = len(self.sectors)
        self.sectors += [
            content[at : at + self.size].ljust(self.size, b"\0") for at in range(0, len(content), self.size)
        ]
        self.chain += [*range(first + 1, len(self.sectors)), END]
        return first


def _entry(name: str, kind: int, child: int, first: int, size: int, following: int) -> bytes:
    units = (name + "\0").encode("utf-16-le")
    links = struct.pack("<64sHBBIII", units, len(units), kind, 1, NONE, following, child)
    return links + bytes(36) + struct.pack("<IQ", first, size)
