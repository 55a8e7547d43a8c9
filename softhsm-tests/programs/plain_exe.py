#!/usr/bin/python3
"""plain_exe.py FILE: writes a Windows program without a signature that ends at once, for what signs programs."""
import struct
import sys

CODE = b"\x31\xc0\xc3"  # xor eax, eax; ret
ALIGNED = 512
SECTION_AT = 0x1000

dos = b"MZ" + bytes(58) + struct.pack("<I", 64)
coff = struct.pack("<HHIIIHH", 0x8664, 1, 0, 0, 0, 240, 0x22)
optional = struct.pack("<HBBIIIII", 0x20B, 14, 0, ALIGNED, 0, 0, SECTION_AT, SECTION_AT)
optional += struct.pack("<QIIHHHHHHIIIIHH", 0x140000000, SECTION_AT, ALIGNED, 6, 0, 0, 0, 6, 0, 0,
                        2 * SECTION_AT, ALIGNED, 0, 3, 0x8160)
optional += struct.pack("<QQQQII", 1 << 20, 1 << 12, 1 << 20, 1 << 12, 0, 16)
optional += bytes(16 * 8)  # the directories; the fifth is where signatures go
section = struct.pack("<8sIIIIIIHHI", b".text", len(CODE), SECTION_AT, ALIGNED, ALIGNED, 0, 0, 0, 0, 0x60000020)
with open(sys.argv[1], "wb") as file:
    head = dos + b"PE\0\0" + coff + optional + section
    file.write(head.ljust(ALIGNED, b"\0") + CODE.ljust(ALIGNED, b"\0"))
